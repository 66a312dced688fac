"""A policy in an ONNX file, run by onnxruntime as the reference of an export."""
