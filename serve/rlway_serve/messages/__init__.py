"""The values that the other rooms pass to each other."""
