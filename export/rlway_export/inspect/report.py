"""What `rlway inspect` finds of a path, as `--json` prints it.

Out:     `Report`. Its keys are stable: later versions add keys, and change none.

A key is null where its fact is not known, or is none of this kind of path. Sizes are in bytes; times are UTC, ISO 8601.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from rlway_client.contract.fresh_return import FreshReturn
from rlway_client.contract.interface import Draw
from rlway_client.contract.specs import TensorSpec

Kind = Literal["run", "trigger", "SavedModel", "ONNX", "Keras", "checkpoints"]
Dims = list[int | str | None]  # a name or None for a free dimension


class Tensor(msgspec.Struct, frozen=True):
    """An input or an output, as a file declares it."""

    name: str
    dtype: str
    shape: Dims | None  # None: not declared

    @property
    def label(self) -> str:
        """`float32[?, 4]`."""
        if self.shape is None:
            return f"{self.dtype} of any shape"
        return f"{self.dtype}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"


class Signature(msgspec.Struct, frozen=True):
    """A function that a file can be called by; an ONNX file has one, without a name."""

    name: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote it, and when."""

    by: str | None  # `TF-Agents' PolicySaver`, `rlway train`, `pytorch 2.1.0`
    version: str | None = None  # of TensorFlow, or the opset
    file_time: str | None = None  # of the file with the graph; a copy may have a later one
    agent: str | None = None  # as far as the graph tells
    agent_seen: str | None = None  # what tells it


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of `rlway train` says of itself."""

    algorithm: str
    env: str
    preset: str | None
    seed: int
    frame_stack: int = 1  # how many frames of the environment are one observation
    has_ended: bool
    steps: int | None = None
    best_checkpoint: int | None = None
    final_return: float | None = None
    fresh: FreshReturn | None = None  # the same, with its interval


class Checkpoints(msgspec.Struct, frozen=True):
    """Weights beside the graph; `exported` is the number of those that an export takes, None for the graph's own."""

    numbers: list[int]
    exported: int | None


class PolicyFolder(msgspec.Struct, frozen=True):
    """One of a trigger's SavedModels."""

    name: str
    draws: list[str]  # the operations that draw; empty for a greedy one
    is_exported: bool


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The tensors of the exported files, and how actions are chosen: the fields are those of a manifest."""

    observation: list[TensorSpec]
    actions: list[TensorSpec]
    noise: TensorSpec | None
    draws: list[Draw]
    time_step: list[TensorSpec]
    state: list[TensorSpec]
    outputs: list[TensorSpec]
    chooses: Literal["greedy", "sampled", "epsilon-greedy"]
    epsilon: float | None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy takes, in numbers."""

    parameters: int
    weight_bytes: int
    activation_bytes: int | None  # at most at once, for one observation


class Onnx(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of an ONNX file."""

    opset: int
    ir_version: int
    operators: dict[str, int]  # how often each occurs


class Keras(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a Keras network."""

    layers: dict[str, int]  # how often each kind occurs


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What an export would do, found by doing it without comparing, measuring and publishing."""

    refused: str | None  # the sentence with which it would be refused
    formats: dict[str, str | None]  # a format that was tried → the sentence with which it is refused
    notes: list[str]
    flags: list[str]  # options that it needs or could be given; capitals stand for what only the user knows
    command: str  # with these options, where they are needed


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of a path."""

    path: str
    kind: Kind
    title: str  # what it is, in words
    written: Written
    train_step: int | None = None  # of the weights that an export takes; −1: nobody counted
    training: Training | None = None
    checkpoints: Checkpoints | None = None
    policies: list[PolicyFolder] = []
    signatures: list[Signature] = []
    policy: Policy | None = None  # None where an export is refused and nothing else tells
    saved_rows: int | None = None  # the only number of rows that the source takes; None for any
    exported_rows: int | None = None  # likewise of the exported files
    memory: Memory | None = None
    onnx: Onnx | None = None
    keras: Keras | None = None
    contents: dict[str, int] = {}  # of checkpoints without a graph: how many numbers each object has
    export: Export
