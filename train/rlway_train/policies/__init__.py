"""Policies as numpy, for collecting."""
