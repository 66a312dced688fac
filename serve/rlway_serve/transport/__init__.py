"""Bytes to requests, and answers to bytes: HTTP/1.1, WebSockets, gRPC."""
