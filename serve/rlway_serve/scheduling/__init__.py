"""Who runs together, and where."""
