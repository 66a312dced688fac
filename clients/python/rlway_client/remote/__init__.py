"""Actions from a server: the clients, and their messages over HTTP."""
