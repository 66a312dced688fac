"""The bundle: written as a draft, proven, published whole."""
