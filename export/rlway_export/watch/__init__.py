"""Follows what is still being written, and publishes each version of it."""
