"""What an export needs of a policy to compare files with it, whatever the policy comes from.

Out:     `Reference`.

    SavedPolicy    a SavedModel, run by TensorFlow
    OnnxPolicy     an ONNX file, run by onnxruntime
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import Sampling
from rlway_client.contract.parity import Arrays


class Reference(Protocol):
    """The policy itself, with which every exported file is compared."""

    notes: list[str]  # what a user should know of it, a sentence each

    @property
    def interface(self) -> Interface: ...

    @property
    def sampling(self) -> Sampling | None:
        """How it chose its actions before its draws became inputs; None if it was greedy."""

    def run_act(self, inputs: Arrays) -> Arrays:
        """The answers to any number of rows, by the names of the interface."""

    def sample(self, inputs: Arrays) -> Arrays:
        """The answers with its own draws; the noise among the inputs is ignored."""

    def timed(self, inputs: Arrays) -> Callable[[], object]:
        """A call for the first of these rows, to be timed."""
