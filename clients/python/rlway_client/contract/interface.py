"""What a policy takes and gives: the tensors of every exported file, by name and in order.

In:      the specs in a run or a manifest.
Out:     `Interface`, with the inputs and the outputs of the files.

    inputs     the observation's tensors, `noise`; of a policy with state also its state, and `reset`
    outputs    `action`, further outputs (`q_values`, …), and the state after this step

Two tensors of a file cannot have the same name, so the state comes out as `next_<name>`. Where `reset` is true an
episode begins, and the policy ignores the state that it is given.
"""

from __future__ import annotations

from typing import NamedTuple

from rlway_client.contract.specs import TensorSpec

RESET = TensorSpec("reset", (), "bool")
NEXT = "next_"


class Interface(NamedTuple):
    """A policy's tensors. `noise` is None if it is greedy only; `state` is empty if it keeps none between steps."""

    observation: list[TensorSpec]
    action: TensorSpec
    noise: TensorSpec | None
    state: list[TensorSpec]
    outputs: list[TensorSpec]  # besides the action and the state

    @property
    def inputs(self) -> list[TensorSpec]:
        """The inputs of every exported file, in order."""
        state = [*self.state, RESET] if self.state else []
        return [*self.observation, *([self.noise] if self.noise else []), *state]

    @property
    def results(self) -> list[TensorSpec]:
        """The outputs of every exported file, in order."""
        return [self.action, *self.outputs, *self.next_state]

    @property
    def next_state(self) -> list[TensorSpec]:
        """The outputs that hold the policy state after the step."""
        return [TensorSpec(NEXT + spec.name, spec.shape, spec.dtype) for spec in self.state]

    @property
    def judged(self) -> str | None:
        """The output by whose values two policies are compared: a continuous action, or Q-values; None without them."""
        if not self.action.is_discrete:
            return self.action.name
        return "q_values" if any(spec.name == "q_values" for spec in self.outputs) else None
