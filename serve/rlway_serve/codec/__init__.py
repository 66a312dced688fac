"""JSON and raw octets to arrays, and actions to JSON."""
