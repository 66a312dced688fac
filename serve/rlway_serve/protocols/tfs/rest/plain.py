"""Reads plain predict requests over REST: one row, of which only the action is asked for.

In:      a body in row or column format, in which the sole input may have any of its names or none. It may hold the rest
         of the time step as TF-Agents' signature names it, which is checked, and which no plain policy reads.
Out:     the row, and the wire that writes the answer.
Refuses: nothing; a body that is not plain is read by `request.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rlway_client.contract.interface import TIME_STEP
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import TensorSpec
from rlway_client.contract.time_step import LAST
from rlway_serve.codec.nesting import UNPLAIN_KEY, row_type
from rlway_serve.codec.tensors import SOLE
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.request import DeadlineMs
from rlway_serve.protocols.tfs.rest.answer import PlainWire

ONE = Meta(min_length=1, max_length=1)
TIME_STEP_TYPES: dict[str, Any] = {
    "0/step_type": Annotated[int, Meta(ge=0, le=LAST)],
    **{f"0/{name}": row_type(TensorSpec(name, (), TIME_STEP[name]), finite=True) for name in ("reward", "discount")},
}


class PlainReader:
    """The reader for one version. Only for a policy whose observation and action are one tensor each, without state."""

    def __init__(self, manifest: Manifest) -> None:
        spec, action = manifest.observation[0], manifest.actions[0]
        row: Any = row_type(spec, finite=True)
        column: Any = _column(row)
        spellings = dict.fromkeys((spec.name, *SOLE))
        names = {f"f{i}": name for i, name in enumerate(spellings) if not UNPLAIN_KEY.search(name)}
        named_row: Any = _named(row, names, TIME_STEP_TYPES)
        named_column: Any = _named(column, names, {name: _column(kind) for name, kind in TIME_STEP_TYPES.items()})
        body = msgspec.defstruct(
            "PlainPredictRequest",
            [
                ("instances", Annotated[list[row | named_row], ONE] | UnsetType, UNSET),
                ("inputs", column | named_column | UnsetType, UNSET),
                ("signature_name", Literal["", "serving_default", "action"] | None, None),
                ("deadline_ms", DeadlineMs | None, None),
            ],
            forbid_unknown_fields=True,
        )
        self._fields = [*names]
        self._row, self._column = named_row, named_column
        self._decode = msgspec.json.Decoder(body).decode
        discrete = action.is_discrete and not action.shape
        self._rows, self._columns = PlainWire("predictions", discrete), PlainWire("outputs", discrete)

    def read(self, body: bytes, call: PlainCall) -> bool:
        """Fills in the call if the body is plain, and returns whether it is."""
        try:
            request: Any = self._decode(body)
        except Exception:  # a body of another kind
            return False
        instances, inputs = request.instances, request.inputs
        if instances is UNSET:
            if inputs is UNSET:
                return False
            rows = self._sole(inputs) if type(inputs) is self._column else inputs
            if rows is UNSET:
                return False
            row, call.wire = rows[0], self._columns
        else:
            row = instances[0]
            if type(row) is self._row:
                row = self._sole(row)
            if row is UNSET or inputs is not UNSET:
                return False
            call.wire = self._rows
        call.observations = row
        if request.deadline_ms is not None:
            call.deadline_s = call.arrived_s + request.deadline_ms / 1000
        return True

    def _sole(self, named: Any) -> Any:
        """The value of the only name that is given; UNSET if there are none or several."""
        values = [value for field in self._fields if (value := getattr(named, field)) is not UNSET]
        return values[0] if len(values) == 1 else UNSET


def _column(kind: Any) -> Any:
    return Annotated[list[kind], ONE]


def _named(kind: Any, names: dict[str, str], further: dict[str, Any]) -> Any:
    """A struct of optional fields: those that stand for the names of one input, and further inputs."""
    fields = [(field, kind | UnsetType, UNSET) for field in names]
    others = [(f"t{i}", other | UnsetType, UNSET) for i, other in enumerate(further.values())]
    rename = {**names, **{f"t{i}": name for i, name in enumerate(further)}}
    return msgspec.defstruct("Named", fields + others, rename=rename, forbid_unknown_fields=True, gc=False)
