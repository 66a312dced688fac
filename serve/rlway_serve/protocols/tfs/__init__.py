"""TensorFlow Serving's API: `/v1/models/{model}:predict`, the status and the metadata of models."""
