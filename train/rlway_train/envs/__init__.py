"""Environments: their specs, checks and wrappers, one at a time or several together."""
