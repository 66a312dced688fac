"""Whether a caller may ask, and which policy answers."""
