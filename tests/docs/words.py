"""What docs/protocols.md calls the parts of a request, in one column of its table.

In:      the cells of a column; what to say, by the words of ROWS.
Out:     names and values, by the place where the protocol has them.
Refuses: words that have no row in the table (KeyError).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, Any]
DATATYPES = {
    "float32": "FP32",
    "float64": "FP64",
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
}
PLACED = re.compile(r"(key|parameter|field|input) `(\w+)`")
ROWS = {  # of the table, by the words of `ask`
    "version": "version",
    "label": "label",
    "deadline_ms": "deadline",
    "outputs": "further outputs",
    "explore": "exploration",
    "seed": "seed",
    "noise": "noise",
    "episode": "episode by an id",
    "first": "first step of an episode",
    "last": "last step of an episode",
}


class Refused(Exception):
    """The protocol's status, as the page's table of errors has it, and the sentence."""

    def __init__(self, status: str, sentence: str) -> None:
        assert sentence.strip(), "a refusal without a sentence"
        assert "Traceback" not in sentence
        super().__init__(f"{status}: {sentence}")
        self.status = status
        self.sentence = sentence


class Speaker(Protocol):
    """One column of the table."""

    def ask(self, policy: str, inputs: Arrays, **said: Any) -> Arrays:
        """Asks for actions. `said`: words of ROWS, and `octets`: whether tensors are bytes."""

    def close(self) -> None: ...


class Words:
    """What one column calls things."""

    def __init__(self, column: Mapping[str, str], default_place: str) -> None:
        self._column = column
        self._default_place = default_place

    def place(self, said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What is said, by the place where it goes and the name that it has there."""
        placed: dict[str, dict[str, Any]] = {"key": {}, "parameter": {}, "field": {}, "input": {}}
        for word, value in said.items():
            cell = self._column[ROWS[word]]
            # What has no words in this column is said in those of RLway, and has to be refused.
            found = PLACED.search(cell)
            place, name = found.groups() if found else (self._default_place, word)
            placed[place][name] = _written(value, cell)
        return placed


def _written(value: Any, cell: str) -> Any:
    """A value as the cell says: in microseconds, as JSON text, or as 0."""
    if "µs" in cell:
        return round(value * 1000)
    if "JSON text" in cell:
        return json.dumps(value)
    return np.zeros(1, np.int32) if cell.endswith("`, 0") else value
