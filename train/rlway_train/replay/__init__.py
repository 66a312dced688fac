"""Replay buffers: in TensorFlow's graph, or on a Reverb server."""
