"""ONNX graphs as functions of TensorFlow, for SavedModels and TFLite files of policies that come as ONNX."""
