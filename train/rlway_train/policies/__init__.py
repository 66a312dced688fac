"""Policies in numpy: what acts while experience is collected and evaluated."""
