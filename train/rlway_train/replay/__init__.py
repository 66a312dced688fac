"""Where transitions wait to be sampled: in this process, or on a Reverb server."""
