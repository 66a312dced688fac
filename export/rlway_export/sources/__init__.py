"""Where policies come from, and what a path is that is no policy."""
