"""Where rows wait to be sampled: in TensorFlow's graph, or on a Reverb server."""
