"""Policies in numpy, for collecting and evaluating."""
