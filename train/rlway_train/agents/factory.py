"""The algorithms, by their settings.

In:      settings.
Out:     the learner that goes by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlway_train.agents.distribution import make_strategy
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.learner import Learner
from rlway_train.agents.recurrent_dqn import RecurrentDqnLearner
from rlway_train.agents.sac import SacLearner
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.domain import Domain

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel


def make_learner(settings: TrainingSettings, domain: Domain, seed: int, channel: Channel | None = None) -> Learner[Any]:
    """A learner that has learned nothing yet; with an exchange, from the rows on its server."""
    with make_strategy(settings).scope():
        if isinstance(settings, SacSettings):
            return SacLearner(settings, domain, seed, channel)
        assert isinstance(settings, DqnSettings)
        return (RecurrentDqnLearner if settings.lstm else DqnLearner)(settings, domain, seed, channel)
