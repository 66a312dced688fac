"""The ONNX file: converted, simplified, halved."""
