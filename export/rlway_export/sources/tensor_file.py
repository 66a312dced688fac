"""A file whose tensors have names, but no roles: what it takes and what it gives.

Out:     `FileTensor`; `TensorFile`, which an ONNX file, a Keras network and a SavedModel's signature are.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from rlway_client.common.quote import named, short_name


class FileTensor(NamedTuple):
    """An input or an output, as the file declares it."""

    name: str
    dtype: str  # numpy's name, or "no tensor"
    shape: tuple[int | str | None, ...] | None  # a name or None for a free dimension; None: not declared

    @property
    def label(self) -> str:
        """As people write it: `obs float32[batch, 4]`."""
        dims = "" if self.shape is None else f"[{', '.join('?' if n is None else str(n) for n in self.shape)}]"
        return f"{short_name(self.name)} {self.dtype}{dims}"


class TensorFile(Protocol):
    """Inputs and outputs by name."""

    @property
    def path(self) -> Path: ...

    @property
    def inputs(self) -> list[FileTensor]: ...

    @property
    def outputs(self) -> list[FileTensor]: ...

    @property
    def signature(self) -> str:
        """What it takes and gives, for a sentence."""


def signature_of(inputs: list[FileTensor], outputs: list[FileTensor]) -> str:
    """As `TensorFile.signature` has it."""
    taken, given = (named([one.label for one in side]) for side in (inputs, outputs))
    return f"it takes {taken}, and gives {given}"
