"""Settings of a training, and the presets."""
