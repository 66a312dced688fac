"""Environments by name, and the episodes played in them."""
