"""WebSocket frames ↔ requests."""
