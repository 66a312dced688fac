"""What replay keeps of the steps that are taken: each by itself, several summed up, or stretches of them.

In:      settings, and what the environment takes and gives; then the single steps of E environments.
Out:     the rows that replay holds, as soon as they are complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rlway_client.contract.specs import AnyArray, FloatArray
from rlway_train.collect.adders.n_step import NStepAdder
from rlway_train.collect.adders.sequence import SequenceAdder
from rlway_train.config.settings import DqnSettings, TrainingSettings

if TYPE_CHECKING:
    from rlway_train.envs.domain import Domain


def row_width(obs_dim: int, action_dim: int) -> int:
    """The columns of a transition row."""
    return 2 * obs_dim + action_dim + 2


class Adder(Protocol):
    """Makes the rows that replay holds from the single steps of E environments."""

    width: int

    def push(self, rows: FloatArray, ended: AnyArray, real: AnyArray) -> FloatArray:  # [E, …] -> [m, width]
        """The rows that are complete now. Where `real` is False the environment took no step."""


class TransitionAdder:
    """Each step by itself."""

    def __init__(self, obs_dim: int, action_dim: int) -> None:
        self.width = row_width(obs_dim, action_dim)

    def push(self, rows: FloatArray, ended: AnyArray, real: AnyArray) -> FloatArray:  # noqa: ARG002
        return rows if real.all() else rows[real]


def make_adder(settings: TrainingSettings, domain: Domain, envs: int) -> Adder:
    """What these settings want kept of the steps of so many environments."""
    obs_dim, action_dim = domain.obs_dim, domain.action.size
    if isinstance(settings, DqnSettings):
        if settings.lstm:
            return SequenceAdder(settings.sequence_length, envs, obs_dim, action_dim)
        if settings.n_step > 1:
            return NStepAdder(settings.n_step, settings.gamma, envs, obs_dim, action_dim)
    return TransitionAdder(obs_dim, action_dim)
