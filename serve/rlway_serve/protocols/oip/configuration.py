"""A model's configuration, as Triton's model configuration extension gives it.

In:      a loaded version, settings.
Out:     `ModelConfig` with the fields that mean something here, by their names in JSON.
Refuses: nothing.
"""

from __future__ import annotations

from typing import Any

from rlway_client.contract.specs import TensorSpec
from rlway_serve.protocols.oip.datatypes import config_type
from rlway_serve.protocols.oip.metadata import inputs_of, platform_of
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.settings import Settings


def model_configuration(version: LoadedVersion, settings: Settings) -> dict[str, Any]:
    """The configuration of one version. Dimensions are without the batch; a scalar has none."""
    manifest = version.manifest
    required = {spec.name for spec in manifest.observation}
    inputs = [_tensor(spec) | {"optional": spec.name not in required} for spec in inputs_of(manifest)]
    config: dict[str, Any] = {
        "name": manifest.policy,
        "platform": platform_of(version),
        "backend": platform_of(version).partition("-")[0],
        "max_batch_size": settings.max_rows,
        "input": inputs,
        "output": [_tensor(spec) for spec in manifest.interface.results],
    }
    if version.keeps_episodes:
        idle_us = round(settings.episode_ttl_s * 1e6)
        config["sequence_batching"] = {"max_sequence_idle_microseconds": idle_us}
    else:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": 0}
    return config


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": config_type(spec.dtype), "dims": [*spec.shape]}
