"""RLway's exporter: a trained TF-Agents policy as ONNX, TFLite and SavedModel, proven to act alike.

run ──▶ source ──▶ targets ──▶ parity ──▶ bundle
"""

__version__ = "0.1.0"
