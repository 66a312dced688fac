"""One model file, loaded and ready to run: onnxruntime or LiteRT."""
