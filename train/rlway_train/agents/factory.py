"""The learner and the replay that the settings ask for.

In:      settings, the environment's specs, a seed.
Out:     a learner that has learned nothing yet.
"""

from __future__ import annotations

from typing import Any

from rlway_train.agents.conv_dqn import ConvDqnLearner, make_frame_replay
from rlway_train.agents.distribution import make_strategy
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.learner import Learner
from rlway_train.agents.recurrent_dqn import RecurrentDqnLearner
from rlway_train.agents.sac import SacLearner
from rlway_train.collect.transition import make_columns
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.domain import Domain
from rlway_train.replay.base import Replay
from rlway_train.replay.uniform import Ring


def make_learner(settings: TrainingSettings, domain: Domain, seed: int, replay: Replay | None = None) -> Learner[Any]:
    """The learner with this replay, or with the one that its settings ask for."""
    with make_strategy(settings).scope():
        if isinstance(settings, DqnSettings) and settings.conv is not None:
            return ConvDqnLearner(settings, domain, seed, make_frame_replay(settings, domain))
        if replay is None:
            replay = make_replay(settings, make_columns(settings, domain).width)
        if isinstance(settings, SacSettings):
            return SacLearner(settings, domain, seed, replay)
        assert isinstance(settings, DqnSettings)
        return (RecurrentDqnLearner if settings.lstm else DqnLearner)(settings, domain, seed, replay)


def make_replay(settings: TrainingSettings, width: int) -> Replay:
    """A replay within this process."""
    if settings.replay == "tf":
        return Ring(settings.replay_capacity, width)
    from rlway_train.replay.reverb import ReverbReplay, TableOptions

    return ReverbReplay(TableOptions.of(settings), width)
