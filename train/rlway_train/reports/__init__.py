"""Curves, comparisons, pictures and films for people to look at."""
