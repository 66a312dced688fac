"""What the tensors of a file or a function are to a policy.

Out:     `Roles`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from rlway_client.contract.specs import AnyArray

# `action`: the action itself. `mean`: the mean of a distribution of actions, which is its greedy action.
# `q_values`, `logits`: a score for each discrete action, of which the largest is the action.
Meaning = Literal["action", "q_values", "logits", "mean"]


class ActionPart(NamedTuple):
    """An output of which the action, or one part of it, is made."""

    tensor: str
    meaning: Meaning

    @property
    def is_scores(self) -> bool:
        return self.meaning in ("q_values", "logits")


class StatePart(NamedTuple):
    """An input that takes the policy state, and the output that gives the next one."""

    taken: str
    given: str
    initial: AnyArray | None = None  # at the beginning of an episode, without the batch; None: zeros


class Roles(NamedTuple):
    """Every input of the file or the function, and the wanted outputs."""

    observation: list[str]
    action: list[ActionPart]
    state: list[StatePart]
    fixed: dict[str, float]  # inputs that always have this value

    @property
    def outputs(self) -> list[str]:
        """The wanted outputs, each once."""
        return list(dict.fromkeys([*(one.tensor for one in self.action), *(one.given for one in self.state)]))
