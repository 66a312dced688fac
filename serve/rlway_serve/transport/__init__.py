"""Bytes on sockets to requests, and answers to bytes."""
