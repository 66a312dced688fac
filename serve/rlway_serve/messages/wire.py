"""How protocols other than the native one write their answers.

In:      actions, or all results of a run, by name; an error.
Out:     `Response`s in the protocol's own form.
Refuses: nothing.
"""

from __future__ import annotations

from typing import Protocol

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_serve.messages.response import Response


class Refusing(Protocol):
    """Writes errors as one protocol does."""

    def refuse(self, error: RlwayError) -> Response:
        """The error in the protocol's form."""


class Wire(Refusing, Protocol):
    """Writes the answers to plain requests of one policy version: one observation, of which only the action is asked.

    Many requests share it. `None` stands for the native wire, of which a call says whether it is `raw`.
    """

    def write_actions(self, actions: AnyArray) -> list[Response]:  # actions [rows, *shape]
        """The answer to each row."""


class Reply(Refusing, Protocol):
    """Writes the answer to one request of any kind."""

    def write(self, results: Arrays) -> Response:
        """The answer. `results` holds the rows of this request: the action's tensors and the outputs asked for."""


class PlainReply:
    """Writes the answer to a plain request that ran together with requests of other kinds."""

    def __init__(self, wire: Wire, action: str) -> None:
        self._wire = wire
        self._action = action  # the name of the action's tensor

    def write(self, results: Arrays) -> Response:
        return self._wire.write_actions(results[self._action])[0]

    def refuse(self, error: RlwayError) -> Response:
        return self._wire.refuse(error)
