"""JSON and bytes to arrays, and back."""
