"""One module for each protocol: how it writes a request for one action, and how its answer is read."""
