"""Which observations run together, when, and on which thread."""
