"""TensorFlow Serving's API over HTTP."""
