"""One predict request, whether it came over REST or gRPC.

In:      tensors by name, options, the signature, the version or label.
Out:     a `Call` with this question as its reply; which results its answer holds, by the names of the signature.
Refuses: what `codec/tensors.py` refuses; outputs that the signature does not have; a step of a policy with state that
         has neither an episode nor the state and does not begin (SpecViolated).

A subclass writes the answers.

A policy with state is asked in one of two ways. With an `episode`, the server keeps the state; where the step type is
FIRST in all rows, the episode begins. Otherwise the request holds the state, or is FIRST in all rows; the answer then
holds the next state. A row with FIRST forgets the state of that row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rlway_client.common.quote import clipped, named
from rlway_client.contract.errors import RequestMalformed, RlwayError, SpecViolated
from rlway_client.contract.guard import Violations
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, Fault
from rlway_serve.messages.call import Call, Receiver
from rlway_serve.messages.request import Pin
from rlway_serve.messages.response import Response
from rlway_serve.protocols.tfs.errors import in_serving_words
from rlway_serve.protocols.tfs.options import read_options, split_controls
from rlway_serve.protocols.tfs.signatures import check_signature, output_names
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.served_policy import ServedPolicy

FIRST_NAMES = {"step_type": 0, "0/step_type": 0, "reset": True}  # where an episode begins, by the value that says so


class PredictQuestion:
    """A request that can be read against any version of a policy."""

    def __init__(
        self,
        policy: ServedPolicy,
        tensors: Mapping[str, Any],
        fields: Mapping[str, Any],
        *,
        known_fields: str = "",
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
    ) -> None:
        active = policy.active

        def is_input(name: str) -> bool:
            return active is not None and active.tensors.name_of(name) is not None

        tensors, controls = split_controls(tensors, is_input)
        twice = next((name for name in controls if name in fields), None)
        if twice is not None:
            raise RequestMalformed(f"{twice}: expected it once, got it as a field and as an input.")
        self._signature = check_signature(signature)
        self._options = read_options({**fields, **controls}, known_fields)
        self._tensors = tensors
        self._model = policy.name
        self.pin = Pin(version or None, label, self._options.episode, _begins(tensors, is_input))
        self._written: dict[str, str] = {}  # the results of the answer: the name of each in the signature

    def read(self, version: LoadedVersion, caller: Receiver) -> Call:
        """The request as a call of this version. Raises RlwayError."""
        options = self._options
        outputs = output_names(version.manifest, self._signature)
        asked = self._find_outputs(outputs)
        call = version.tensors.read(
            self.name_tensors(version),
            caller,
            explore=options.explore,
            seed=options.seed,
            outputs=[*asked],
            deadline_ms=options.deadline_ms,
            in_episode=options.episode is not None,
        )
        self._check_state(call, version)
        names = {result: name for name, result in outputs.items()}
        self._written = asked or {result: names[result] for result in (*version.tensors.actions, *call.outputs)}
        call.reply = self
        return call

    def name_tensors(self, version: LoadedVersion) -> Mapping[str, Any]:  # noqa: ARG002  # of subclasses
        """The request's tensors by name."""
        return self._tensors

    def select(self, results: Arrays) -> dict[str, AnyArray]:
        """The results that the answer holds, by the names of the signature."""
        return {name: results[result] for result, name in self._written.items()}

    def in_serving_words(self, error: RlwayError) -> RlwayError:
        """The error as TensorFlow Serving would say it."""
        return in_serving_words(error, self._model, self.pin)

    def write(self, results: Arrays, violated: Violations) -> Response:
        raise NotImplementedError

    def refuse(self, error: RlwayError) -> Response:
        raise NotImplementedError

    def _find_outputs(self, outputs: dict[str, str]) -> dict[str, str]:
        """The results that `output_filter` asks for, each with its name in the signature."""
        results = {*outputs.values()}
        asked: dict[str, str] = {}
        for name in self._options.output_filter:
            result = outputs.get(name, name if name in results else None)
            if result is None:
                raise RequestMalformed(
                    f"output tensor alias not found in signature: {clipped(name)}; "
                    f"Outputs expected to be in the set {{{named([*outputs])}}}."
                )
            if result in asked:
                raise RequestMalformed(f"duplicate output tensor alias: {clipped(name)}; name each output once.")
            asked[result] = name
        return asked

    def _check_state(self, call: Call, version: LoadedVersion) -> None:
        """Raises if the request has two states, or none although the policy has one."""
        episode = self._options.episode
        if call.given_state is not None and episode is not None:
            raise RequestMalformed("episode: expected either an episode or the policy state, got both.")
        if version.manifest.state and episode is None and call.given_state is None and not call.begins:
            state = named([spec.name for spec in version.manifest.state])
            expected = f"an id, or {state}, or step_type 0 in all rows: this policy has a state"
            raise SpecViolated([Fault("episode", expected, "none")])


def _begins(tensors: Mapping[str, Any], is_input: Callable[[str], bool]) -> bool:
    """Whether all rows are the first of an episode. An element of the observation may have one of these names."""
    given = {name: value for name, value in FIRST_NAMES.items() if name in tensors and is_input(name)}
    return any(_are_all(tensors[name], value) for name, value in given.items())


def _are_all(values: Any, wanted: Any) -> bool:
    if isinstance(values, np.ndarray | np.generic):
        values = values.tolist()
    return isinstance(values, list) and bool(values) and all(value == wanted for value in values)
