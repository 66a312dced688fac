"""Actions from a server: the clients, and what goes over HTTP."""
