"""Environments as the client meets them: whose code may run, and what happens when it fails."""
