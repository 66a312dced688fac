"""One policy as it is served: its bundle, its runtime, its queue.

In:      a bundle whose checksums are right.
Out:     `ServedPolicy`, warm.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rlway_client.bundle import Bundle
from rlway_client.errors import BundleInvalid
from rlway_serve.batcher import Batcher
from rlway_serve.decoder import ActDecoder
from rlway_serve.metrics import Metrics
from rlway_serve.runtime import OnnxRuntime
from rlway_serve.settings import Settings

MODEL_FILE = "model.onnx"


class ServedPolicy:
    """Loads on construction; raises BundleInvalid when the model is not what its manifest says."""

    def __init__(self, bundle: Bundle, settings: Settings, metrics: Metrics) -> None:
        self.manifest = bundle.manifest
        self.name = bundle.manifest.policy
        self.version = bundle.manifest.version
        if MODEL_FILE not in bundle.manifest.files:
            raise BundleInvalid(f"{bundle.path}: its manifest lists no {MODEL_FILE}; export the policy again.")
        self.runtime = OnnxRuntime(bundle.path / MODEL_FILE, bundle.manifest)
        self.decoder = ActDecoder(bundle.manifest, settings)
        self.metrics = metrics.add(self.name, self.version)
        self.batcher = Batcher(
            bundle.manifest,
            self.runtime,
            self.decoder,
            self.metrics,
            max_batch=settings.max_batch,
            capacity=settings.queue_capacity,
        )
        metrics.watch_queue(self.metrics, self.batcher)

    def describe(self) -> dict[str, Any]:
        """What `GET /v1/policies/{policy}` says."""
        return {
            "manifest": msgspec.to_builtins(self.manifest),
            "versions": [self.version],
            "runtime": "onnxruntime-cpu",
            "inline": self.runtime.inline,
            "latency_us": {str(rows): round(s * 1e6, 1) for rows, s in self.runtime.latency_s.items()},
        }
