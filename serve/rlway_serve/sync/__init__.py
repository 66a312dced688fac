"""A remote store, mirrored into the local models folder."""
