"""What Unity's ML-Agents hands to a model and reads from it, for one policy.

In:      the policy's interface.
Out:     `UnityTensors`: the inputs and outputs by ML-Agents' names, and which part of the policy each stands for.
Refuses: what ML-Agents cannot hand over or take (ExportRefused): an observation of more than three dimensions, and
         rewards.

    obs_0, obs_1, …   the observations in the policy's order; an image lies channels first, its bytes as 0 to 1
    action_masks      1 for each choice that is allowed, for the discrete actions
    epsilon           standard normal numbers, from which the policy's noise is made
    recurrent_in      the policy state, and at its end a number that is 0 until an episode's first action
"""

from __future__ import annotations

from typing import NamedTuple

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.game_actions import Branches, Span, game_actions
from rlway_client.contract.interface import Draw, Interface
from rlway_client.contract.specs import TensorSpec

ENGINE = "unity"
API_VERSION = 3  # ModelApiVersion.MLAgents2_0
MOST_DIMENSIONS = 3
MOST_CHANNELS = 4  # by which an image with channels first is told from one with channels last
WHITE = 255.0


class UnityObservation(NamedTuple):
    """One observation as a sensor writes it."""

    name: str
    spec: TensorSpec

    @property
    def is_image(self) -> bool:
        return len(self.spec.shape) == MOST_DIMENSIONS

    @property
    def is_turned(self) -> bool:
        """Whether the policy has an image's channels last, where Unity has them first."""
        return self.is_image and not self.spec.shape[0] <= MOST_CHANNELS < self.spec.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """As Unity has it, without the agents' dimension."""
        if self.is_turned:
            return (self.spec.shape[2], *self.spec.shape[:2])
        return self.spec.shape or (1,)

    @property
    def scale(self) -> float:
        """What Unity's number is multiplied with."""
        return WHITE if self.is_image and self.spec.dtype == "uint8" else 1.0


class UnityTensors(NamedTuple):
    """All tensors of one policy."""

    observations: list[UnityObservation]
    continuous: list[Span]
    discrete: list[Branches]
    draws: list[Draw]
    state: list[TensorSpec]
    outputs: list[TensorSpec]  # what the policy gives besides; ML-Agents does not read it

    @classmethod
    def of(cls, interface: Interface) -> UnityTensors:
        """Raises ExportRefused."""
        deep = next((spec for spec in interface.observation if len(spec.shape) > MOST_DIMENSIONS), None)
        if deep is not None:
            raise ExportRefused(
                f"unity: {deep.name}: expected at most {MOST_DIMENSIONS} dimensions, as sensors of ML-Agents have, got "
                f"{deep.label}; leave unity out of --formats."
            )
        if interface.time_step:
            raise ExportRefused(
                f"unity: the policy reads {interface.time_step[0].name}, which ML-Agents does not hand to a model; "
                f"leave unity out of --formats."
            )
        parts = game_actions(interface, ENGINE)
        return cls(
            [UnityObservation(f"obs_{i}", spec) for i, spec in enumerate(interface.observation)],
            [part for part in parts if isinstance(part, Span)],
            [part for part in parts if isinstance(part, Branches)],
            interface.noise_draws,
            interface.state,
            interface.outputs,
        )

    @property
    def branch_sizes(self) -> list[int]:
        return [size for part in self.discrete for size in part.sizes]

    @property
    def continuous_size(self) -> int:
        return sum(part.spec.size for part in self.continuous)

    @property
    def epsilon_size(self) -> int:
        """Two normal numbers make a Gumbel number."""
        return sum(draw.size * (2 if draw.distribution == "gumbel" else 1) for draw in self.draws)

    @property
    def memory_size(self) -> int:
        return sum(spec.size for spec in self.state) + 1 if self.state else 0
