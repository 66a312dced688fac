"""The policy as C99 source."""
