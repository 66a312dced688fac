"""Environments as training meets them: which can be learned, and what is put around them."""
