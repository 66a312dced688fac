"""The policy as game engines run it: its ONNX model with their tensors around it."""
