"""Where models and texts come from, pinned and checked; the rows a training reads."""
