"""The adder that the settings ask for.

In:      settings, the environment's specs, the number of environments.
Out:     an adder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlway_train.collect.adders.base import Adder, TransitionAdder
from rlway_train.collect.adders.n_step import NStepAdder
from rlway_train.collect.adders.sequence import SequenceAdder
from rlway_train.collect.transition import SequenceColumns, make_columns
from rlway_train.config.settings import DqnSettings, TrainingSettings

if TYPE_CHECKING:
    from rlway_train.envs.domain import Domain


def make_adder(settings: TrainingSettings, domain: Domain, envs: int) -> Adder:
    """An adder for the steps of so many environments."""
    columns = make_columns(settings, domain)
    if isinstance(columns, SequenceColumns):
        return SequenceAdder(envs, columns)
    if isinstance(settings, DqnSettings) and settings.n_step > 1:
        return NStepAdder(settings.n_step, settings.gamma, envs, columns)
    return TransitionAdder(columns)
