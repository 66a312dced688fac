"""The metadata of a policy: the first message on every connection.

In:      a version's manifest.
Out:     a map for `write_message`.
Refuses: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import TensorSpec
from rlway_serve.protocols.openpi.answers import ACTION_HORIZON
from rlway_serve.protocols.openpi.controls import Controls
from rlway_serve.protocols.openpi.question import IGNORED_TEXT


def describe(manifest: Manifest, control_keys: Sequence[str]) -> dict[str, Any]:
    """What a client may want to know before it sends an observation."""
    names = manifest.meaning.names if manifest.meaning else {}
    return {
        "protocol": "openpi",
        "policy": manifest.policy,
        "version": manifest.version,
        "environment": manifest.env,
        "action_horizon": ACTION_HORIZON,
        "observation": [_spec(spec) | _named(names.get(spec.name)) for spec in manifest.observation],
        "action": [_spec(spec) for spec in manifest.actions],
        "outputs": [_spec(spec) for spec in (*manifest.outputs, *manifest.interface.next_state)],
        "recurrent": bool(manifest.state),  # then the connection is an episode
        "max_episode_steps": manifest.max_episode_steps,
        "control_keys": [*control_keys],
        "ignored_keys": sorted(IGNORED_TEXT),
    }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "key": "/".join(spec.path) or spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "minimum": spec.minimum,
        "maximum": spec.maximum,
    }


def _named(names: list[str] | None) -> dict[str, Any]:
    """The names of the elements, where they have some: a message may hold the values by name."""
    return {} if names is None else {"names": names}


CONTROL_KEYS: tuple[str, ...] = Controls.__struct_fields__
