"""The settings of a training, their validation, and the presets."""
