"""Actions from a server: the clients, their messages over HTTP, and the load test."""
