"""Two models side by side: gates with a verdict, comparisons in words. Pure."""
