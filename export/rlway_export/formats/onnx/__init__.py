"""The policy as ONNX."""
