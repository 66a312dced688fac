"""The FastAPI application: every documented route. Most act requests are answered by `transport` before it."""
