"""The algorithms, by their settings.

In:      settings.
Out:     the learner that goes by them.
"""

from __future__ import annotations

from typing import Any

from rlway_train.dqn import DqnLearner
from rlway_train.environment import Domain
from rlway_train.learner import Learner
from rlway_train.recurrent import RecurrentDqnLearner
from rlway_train.sac import SacLearner
from rlway_train.settings import DqnSettings, SacSettings, Settings


def make_learner(settings: Settings, domain: Domain, seed: int) -> Learner[Any]:
    """A learner that has learned nothing yet."""
    if isinstance(settings, SacSettings):
        return SacLearner(settings, domain, seed)
    assert isinstance(settings, DqnSettings)
    return (RecurrentDqnLearner if settings.lstm else DqnLearner)(settings, domain, seed)
