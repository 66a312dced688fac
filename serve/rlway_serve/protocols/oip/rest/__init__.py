"""The Open Inference Protocol over HTTP: JSON, with tensors as JSON or as octets behind it."""
