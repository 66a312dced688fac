"""Episodes played with a server's actions."""
