"""Episodes played by a server."""
