"""The method beside its rivals, and what scores do not tell."""
