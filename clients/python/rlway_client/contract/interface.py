"""What a policy takes and gives: the tensors of every exported file, by name and in order.

In:      the specs that a run or a manifest tells of.
Out:     `Interface`, with the inputs and the outputs of the files.

    inputs     the observation's tensors, `noise`; of a policy with a memory also its state, and `reset`
    outputs    `action`, what else the policy tells (`q_values`, …), and the state after this step

A file cannot give two tensors one name, so the state comes out as `next_<name>`. Where `reset` is true an episode
begins: whatever state is given there, the policy begins anew.
"""

from __future__ import annotations

from typing import NamedTuple

from rlway_client.contract.specs import TensorSpec

RESET = TensorSpec("reset", (), "bool")
NEXT = "next_"


class Interface(NamedTuple):
    """A policy's tensors. Without `noise` it is greedy only; without `state` it remembers nothing."""

    observation: list[TensorSpec]
    action: TensorSpec
    noise: TensorSpec | None
    state: list[TensorSpec]
    outputs: list[TensorSpec]  # besides the action and the state

    @property
    def inputs(self) -> list[TensorSpec]:
        memory = [*self.state, RESET] if self.state else []
        return [*self.observation, *([self.noise] if self.noise else []), *memory]

    @property
    def results(self) -> list[TensorSpec]:
        return [self.action, *self.outputs, *self.next_state]

    @property
    def next_state(self) -> list[TensorSpec]:
        return [TensorSpec(NEXT + spec.name, spec.shape, spec.dtype) for spec in self.state]

    @property
    def judged(self) -> str | None:
        """The output whose digits tell how alike two policies are; discrete actions have none of their own."""
        if not self.action.is_discrete:
            return self.action.name
        return "q_values" if any(spec.name == "q_values" for spec in self.outputs) else None
