"""RLway's policy server: observations in, actions out, batched; it never imports TensorFlow.

HTTP ──▶ hot lane ─┐
                   ├─▶ endpoint ─▶ batcher ─▶ runtime (onnxruntime)
HTTP ──▶ FastAPI ──┘   (validate)
"""

__version__ = "0.1.0"
