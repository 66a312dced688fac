"""Adders: from single steps to the rows of the replay."""
