"""Protocols that others speak: each is a thin translation to the one internal call, and none knows another."""
