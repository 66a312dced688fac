"""What a policy takes and gives: the tensors of every exported file, by name and in order.

In:      the specs in a run or a manifest.
Out:     `Interface`, with the inputs and the outputs of the files.

    inputs     the observation's tensors, `noise`, the parts of the time step that the policy reads; of a policy with
               state also its state, and `reset`
    outputs    the action's tensors, further outputs (`q_values`, …), and the state after this step

Two tensors of a file cannot have the same name, so the state comes out as `next_<name>`. Where `reset` is true an
episode begins, and the policy ignores the state that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from rlway_client.contract.specs import TensorSpec

RESET = TensorSpec("reset", (), "bool")
NEXT = "next_"

# The parts of a TF-Agents time step that a policy may read besides the observation, and their types.
TIME_STEP = {"reward": "float32", "discount": "float32", "step_type": "int32"}
NEUTRAL = {"reward": 0.0, "discount": 1.0, "step_type": 1}  # within an episode
SCORES = ("q_values", "logits")  # outputs of which a discrete action is the largest, once the noise is added
INFO = "info"  # or `info_…`: what the policy tells of its action, such as the action's log-probability


class Draw(msgspec.Struct, frozen=True):
    """One random draw of the policy, whose numbers are the next `size` elements of `noise`.

    `normal`: standard normal numbers, which the policy scales and shifts. `gumbel`: standard Gumbel numbers, one for
    each choice, which are added to the logits; the largest sum is chosen.
    """

    distribution: Literal["normal", "gumbel"]
    size: Annotated[int, Meta(ge=1)]


class Choice(NamedTuple):
    """A discrete action is the place of the largest of `scores` plus these elements of `noise`; None is not known."""

    action: TensorSpec
    scores: TensorSpec | None
    noise: slice | None


class Interface(NamedTuple):
    """A policy's tensors. `noise` is None if it is greedy only; `state` is empty if it keeps none between steps."""

    observation: list[TensorSpec]
    actions: list[TensorSpec]  # the action's tensors; one with an empty path unless the action is a dict or a tuple
    noise: TensorSpec | None
    state: list[TensorSpec]
    outputs: list[TensorSpec]  # besides the action and the state
    time_step: Sequence[TensorSpec] = ()  # what the policy reads of reward, discount and step_type
    draws: Sequence[Draw] = ()  # what `noise` consists of; empty: one draw, Gumbel for a discrete action

    @property
    def inputs(self) -> list[TensorSpec]:
        """The inputs of every exported file, in order."""
        state = [*self.state, RESET] if self.state else []
        return [*self.observation, *([self.noise] if self.noise else []), *self.time_step, *state]

    @property
    def results(self) -> list[TensorSpec]:
        """The outputs of every exported file, in order."""
        return [*self.actions, *self.outputs, *self.next_state]

    @property
    def next_state(self) -> list[TensorSpec]:
        """The outputs that hold the policy state after the step."""
        return [TensorSpec(NEXT + spec.name, spec.shape, spec.dtype) for spec in self.state]

    @property
    def is_discrete(self) -> bool:
        """Whether every part of the action is a whole number."""
        return all(spec.is_discrete for spec in self.actions)

    @property
    def noise_draws(self) -> list[Draw]:
        """The draws in the order of `noise`, of which they take every element; none without noise."""
        if self.noise is None:
            return []
        return [*self.draws] or [Draw("gumbel" if self.is_discrete else "normal", self.noise.size)]

    @property
    def judged(self) -> list[str]:
        """The outputs by whose values two policies are compared: continuous actions, and scores of discrete ones."""
        continuous = [spec.name for spec in self.actions if not spec.is_discrete]
        return continuous + [spec.name for spec in self.outputs if spec.name.startswith(SCORES)]

    @property
    def info(self) -> list[str]:
        """The outputs that tell of the action."""
        return [spec.name for spec in self.outputs if spec.name == INFO or spec.name.startswith(f"{INFO}_")]

    @property
    def choices(self) -> list[Choice]:
        """The discrete actions. Their draws are in the same order."""
        discrete = [spec for spec in self.actions if spec.is_discrete]
        ends = accumulate(draw.size for draw in self.noise_draws)
        draws = [
            slice(end - draw.size, end)
            for draw, end in zip(self.noise_draws, ends, strict=True)
            if draw.distribution == "gumbel"
        ]
        paired = draws if len(draws) == len(discrete) else [None] * len(discrete)
        choices = []
        for action, noise in zip(discrete, paired, strict=True):
            scores = self._scores_of(action)
            fits = noise is not None and scores is not None and noise.stop - noise.start == scores.size
            choices.append(Choice(action, scores, noise if fits else None))
        return choices

    def _scores_of(self, action: TensorSpec) -> TensorSpec | None:
        """The output with a row of scores for each element of a discrete action."""
        names = [kind + action.name.removeprefix("action") for kind in SCORES]
        found = (spec for spec in self.outputs if spec.name in names)
        return next((spec for spec in found if spec.shape and math.prod(spec.shape[:-1]) == action.size), None)
