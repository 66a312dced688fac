"""One message of an openpi client as a question to a policy.

In:      a message; the tensors that the policy takes.
Out:     a `Call`; later its answer.
Refuses: what is not an openpi message, `first` beside the policy's state (RequestMalformed); inputs that the policy
         does not take (SpecViolated).

An input may be called by its name in the manifest, by the path of its keys in nested maps, or by these keys with
slashes between them, with or without `observation/` before them. A policy with one observation tensor takes it under
any key, if no other key is unknown. The parts of a tuple are a list. Where the manifest names a tensor's elements, a
map of these names may stand for its array; for a sole tensor, the names may also be keys of the message.

openpi's clients send a `prompt` with every observation. It is ignored if it is text and the policy has no such input;
the metadata say so. Every other unknown key is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import RequestMalformed, RlwayError
from rlway_client.contract.guard import Violations
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_serve.codec.tensors import TensorForm
from rlway_serve.messages.call import Call, Receiver
from rlway_serve.messages.response import Response
from rlway_serve.protocols.openpi import answers
from rlway_serve.protocols.openpi.controls import NO_CONTROLS, take_controls
from rlway_serve.protocols.openpi.messages import read_message
from rlway_serve.registry.loaded_version import LoadedVersion

IGNORED_TEXT = frozenset(("prompt",))


class OpenpiQuestion:
    """One message. `tensors` are those of the active version, by which control keys are told from inputs."""

    def __init__(self, message: bytes, tensors: TensorForm | None) -> None:
        self._parts = read_message(message)
        self._controls = take_controls(self._parts, lambda key: tensors is not None and bool(tensors.name_of(key)))
        self.pin = self._controls.pin
        self._manifest: Manifest | None = None  # of the version that answers
        self._arrived_s = time.perf_counter()

    @property
    def has_controls(self) -> bool:
        return self._controls is not NO_CONTROLS

    def inputs(self, tensors: TensorForm, manifest: Manifest) -> dict[str, Any]:
        """The values of its inputs, by names that `tensors` knows, and by unknown names."""
        values: dict[str, Any] = {}
        for name, value in _flatten(self._parts, "", tensors):
            if name in values:
                raise RequestMalformed(f"{clipped(name)}: expected once, got it as a key and in nested maps.")
            if not (name in IGNORED_TEXT and isinstance(value, str) and tensors.name_of(name) is None):
                values[name] = value
        if len(manifest.observation) == 1:
            values = _under_any_key(values, manifest.observation[0].name, tensors)
        return values

    def read(self, version: LoadedVersion, caller: Receiver) -> Call:
        """The request as a call. Raises SpecViolated."""
        self._manifest = version.manifest
        controls = self._controls
        call = version.tensors.read(
            self.inputs(version.tensors, version.manifest),
            caller,
            batched=False,
            explore=controls.explore,
            seed=controls.seed,
            outputs=controls.outputs,
            deadline_ms=controls.deadline_ms,
            in_episode=bool(version.manifest.state),
        )
        if call.given_state is not None and controls.first:
            raise RequestMalformed("first: expected either `first` or the policy's state itself, got both.")
        call.reply = self
        return call

    def write(self, results: Arrays, violated: Violations) -> Response:
        assert self._manifest is not None
        asked = self._controls.server_timing
        infer_ms = (time.perf_counter() - self._arrived_s) * 1e3 if asked else None
        return answers.write_results(self._manifest, results, infer_ms, violated)

    def refuse(self, error: RlwayError) -> Response:
        return answers.refuse(error)


def _under_any_key(values: dict[str, Any], observation: str, tensors: TensorForm) -> dict[str, Any]:
    """The values with the observation's name in place of the only key that is unknown, if it has no other name."""
    unknown = [name for name in values if tensors.name_of(name) is None]
    if not unknown or any(tensors.name_of(name) == observation or tensors.is_element(name) for name in values):
        return values
    names = {name: f"{observation}/{name.rpartition('/')[2]}" for name in unknown}
    keys = {name.rpartition("/")[0] for name in unknown}
    if len(keys) == 1 and all(keys) and any(map(tensors.is_element, names.values())):
        return {names.get(name, name): value for name, value in values.items()}
    return {observation if [name] == unknown else name: value for name, value in values.items()}


def _flatten(value: Any, name: str, tensors: TensorForm) -> Iterator[tuple[str, Any]]:
    """The values that are no maps, and the lists that are no tuples, with the path of their keys."""
    if isinstance(value, list) and value and tensors.name_of(name) is None:
        parts = dict(enumerate(value)) if all(tensors.name_of(f"{name}/{i}") for i in range(len(value))) else {}
    else:
        parts = value if isinstance(value, dict) else {}
    if not parts and (name or not isinstance(value, dict)):
        yield name, value
    for key, part in parts.items():
        yield from _flatten(part, f"{name}/{key}" if name else str(key), tensors)
