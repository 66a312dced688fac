"""TensorFlow Serving's API over gRPC."""
