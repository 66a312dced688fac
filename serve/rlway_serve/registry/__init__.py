"""Which policies there are, in which versions, and which version is active."""
