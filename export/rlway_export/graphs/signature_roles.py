"""What the tensors of the signature `action` are, by their names.

In:      a signature of TensorFlow; `policy_specs.pbtxt`, if it is there.
Out:     its inputs and outputs as ports, and what was assumed, a sentence each.
Refuses: a signature that is not a policy's (ExportRefused).

PolicySaver names tensors by their paths, or by the names of their specs:

    0/observation/pose   1/state/0   action/grip   state/state/0   info/log_probability
    observation   pose   network_state_0   action

`policy_specs.pbtxt` has both for every tensor. Without it a slash is taken for a further key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rlway_client.common.quote import named
from rlway_client.contract.errors import ExportRefused
from rlway_export.graphs.nests import KeyPath
from rlway_export.graphs.policy_specs import Specs
from rlway_export.graphs.ports import SAVE, TIME_STEP, Role, port_of

PREFIX = re.compile(r"^(?:0/|(?:arg_0|time_step|0)_)?(step_type|reward|discount|observation)(?:[/_](.+))?$")
STATE = re.compile(r"^(?:1/|(?:arg_1|policy_state|1)_)(.+)$")
GIVEN = re.compile(r"^(action|state|policy_state|info)(?:/(.+))?$")
Place = tuple[Role, KeyPath]


class SignatureRoles:
    """Reads the names of one signature's tensors. `name` is the SavedModel's name in messages."""

    def __init__(self, function: Any, specs: Specs | None, name: str) -> None:
        self._name = name
        self._specs = specs
        self._assumed: list[str] = []  # labels
        _, taken = function.structured_input_signature
        labels = [spec.name or key for key, spec in sorted(taken.items())]  # TensorFlow sorts them
        self._given = sorted(function.structured_outputs)
        self._taken = labels
        places = _apart(map(self._input, labels)), _apart(map(self._output, self._given))
        self._places = dict(zip([*labels, *self._given], [*places[0], *places[1]], strict=True))
        self.inputs = [port_of(*p, tensor) for p, tensor in zip(places[0], function.inputs[: len(labels)], strict=True)]
        self.outputs = [port_of(*p, tensor) for p, tensor in zip(places[1], function.outputs, strict=True)]
        if not any(port.role == "action" for port in self.outputs):
            raise ExportRefused(f"{name}: its `action` gives no action, so it is not a policy's; {SAVE}.")

    @property
    def notes(self) -> list[str]:
        if not self._assumed:
            return []
        assumed = []
        for label in self._assumed:
            role, path = self._places[label]
            assumed.append(f"{label[:64]} is {role}{''.join(f'[{key[:32]!r}]' for key in path)}")
        return [f"{self._name}: does not tell how its tensors are nested, so this was assumed: {named(assumed)}."]

    def _input(self, label: str) -> Place:
        known = self._known(label, {"observation": "0/observation", "state": "1"})
        if known is not None:
            return known
        found = PREFIX.match(label)
        if found is not None:
            role: Role = found[1]  # type: ignore[assignment]
            return role, self._assume(label, found[2])
        state = STATE.match(label)
        if state is not None:
            return "state", tuple(state[1].split("/"))
        if label in self._given:
            return "state", (label,)
        if not {"step_type", "reward", "discount"} <= {self._plain(other) for other in self._taken}:
            raise ExportRefused(
                f"{self._name}: its `action` takes {label[:64]!r}, which is no part of a time step or policy state; "
                f"{SAVE}."
            )
        return "observation", self._assume(label, label)

    def _output(self, label: str) -> Place:
        known = self._known(label, {role: role for role in ("action", "state", "info")})
        if known is not None:
            return known
        found = GIVEN.match(label)
        if found is not None:
            path = tuple(found[2].split("/")) if found[2] else ()
            role: Role = "state" if found[1] == "policy_state" else found[1]  # type: ignore[assignment]
            return role, self._assume(label, found[2]) if role == "action" else path
        if label in self._taken:
            return "state", (label,)
        return "info", self._assume(label, label)

    def _known(self, label: str, prefixes: dict[str, str]) -> Place | None:
        """What `policy_specs.pbtxt` says of a tensor with this path, or of a spec with this name."""
        for role, prefix in prefixes.items() if self._specs is not None else ():
            leaves = getattr(self._specs, role)
            for leaf in leaves:
                if label == "/".join((prefix, *leaf.path)):
                    return role, leaf.path  # type: ignore[return-value]
            for leaf in leaves:
                if label == leaf.name and [other.name for other in leaves].count(label) == 1:
                    return role, leaf.path  # type: ignore[return-value]
        return None

    def _assume(self, label: str, rest: str | None) -> KeyPath:
        """The path that the rest of a label seems to be."""
        self._assumed += [label] if rest else []
        return tuple(rest.split("/")) if rest else ()

    @staticmethod
    def _plain(label: str) -> str:
        found = PREFIX.match(label)
        return found[1] if found is not None and found[1] in TIME_STEP else label


def _apart(places: Iterable[Place]) -> list[Place]:
    """The places with keys that have slashes, for a part where some key would lead to a tensor and to further keys."""
    found = list(places)
    paths = {role: [path for other, path in found if other == role] for role, _ in found}
    mixed = {
        role
        for role, ways in paths.items()
        for way in ways
        if any(one != way and one[: len(way)] == way for one in ways)
    }
    return [(role, ("/".join(path),)) if role in mixed else (role, path) for role, path in found]
