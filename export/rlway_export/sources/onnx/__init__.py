"""An ONNX file as a source: read and checked, with a role for each of its tensors."""
