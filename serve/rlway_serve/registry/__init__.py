"""Which policies there are, and which version of each is active."""
