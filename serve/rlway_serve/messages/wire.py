"""How protocols other than the native one write their answers.

In:      actions, or all results of a run, by name; an error.
Out:     `Response`s in the protocol's own form. Where the policy's guard changed an action, they say which rules it
         violated, if the protocol has a place for that.
Refuses: nothing.
"""

from __future__ import annotations

from typing import Protocol

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.guard import Violations
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

    def write_guarded(self, action: AnyArray, violated: Violations) -> Response:  # action [1, *shape]
        """The answer to one row that the guard has changed."""


class Reply(Refusing, Protocol):
    """Writes the answer to one request of any kind."""

    def write(self, results: Arrays, violated: Violations) -> Response:
        """The answer. `results` holds the rows of this request: the action's tensors and the outputs asked for.

        `violated` are the rules that the policy's actions violated in any row; empty where the guard changed nothing.
        """


class PlainReply:
    """Writes the answer to a plain request that ran together with requests of other kinds."""

    def __init__(self, wire: Wire, action: str) -> None:
        self._wire = wire
        self._action = action  # the name of the action's tensor

    def write(self, results: Arrays, violated: Violations) -> Response:
        action = results[self._action]
        return self._wire.write_guarded(action, violated) if violated else self._wire.write_actions(action)[0]

    def refuse(self, error: RlwayError) -> Response:
        return self._wire.refuse(error)
