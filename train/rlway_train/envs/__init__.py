"""Environments: what they observe and take, checked and in vectors."""
