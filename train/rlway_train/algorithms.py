"""The algorithms, by their settings.

In:      settings.
Out:     the learner that goes by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlway_train.dqn import DqnLearner
from rlway_train.environment import Domain
from rlway_train.learner import Learner
from rlway_train.recurrent import RecurrentDqnLearner
from rlway_train.sac import SacLearner
from rlway_train.settings import DqnSettings, SacSettings, Settings
from rlway_train.strategy import make_strategy

if TYPE_CHECKING:
    from rlway_train.exchange import Exchange


def make_learner(settings: Settings, domain: Domain, seed: int, exchange: Exchange | None = None) -> Learner[Any]:
    """A learner that has learned nothing yet; with an exchange, from the rows on its server."""
    with make_strategy(settings).scope():
        if isinstance(settings, SacSettings):
            return SacLearner(settings, domain, seed, exchange)
        assert isinstance(settings, DqnSettings)
        return (RecurrentDqnLearner if settings.lstm else DqnLearner)(settings, domain, seed, exchange)
