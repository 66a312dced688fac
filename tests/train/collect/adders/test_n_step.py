"""Transitions over n steps."""

from __future__ import annotations

import gymnasium
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rlway_client.contract.specs import FloatArray
from rlway_train.collect.adders.n_step import NStepAdder
from rlway_train.collect.collector import LocalCollector
from rlway_train.collect.transition import TransitionColumns
from rlway_train.envs.vector import Environments
from tests.policies import Always

COUNTING = "rlway-tests/Counting-v0"  # three steps that pay 2, 3 and 4; even episodes are truncated, odd ones terminate
GAMMA = 0.5
COLUMNS = TransitionColumns(obs_dim=2, action_dim=1)


def collected(n_step: int, mode: AutoresetMode) -> FloatArray:
    vector = SyncVectorEnv([lambda: gymnasium.make(COUNTING)] * 2, autoreset_mode=mode)
    adder = NStepAdder(n_step, GAMMA, 2, COLUMNS) if n_step > 1 else None
    return LocalCollector(Environments(COUNTING, vector), 0, adder).collect(Always(1), 60)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_rewards_are_summed_up_to_n_steps_and_never_past_an_end(mode: AutoresetMode) -> None:
    """The reward, the reach and the discount at each step of an episode."""
    expected = {0: (2 + GAMMA * 3, 2, GAMMA), 1: (3 + GAMMA * 4, 3, GAMMA), 2: (4, 3, 1.0)}
    for row in collected(2, mode):
        reward, discount = row[COLUMNS.reward], row[COLUMNS.discount]
        (episode, step), (next_episode, next_step) = row[COLUMNS.observation], row[COLUMNS.successor]
        worth, reaches, left = expected[int(step)]
        terminal = episode % 2 == 1 and reaches == 3
        assert (next_episode, next_step) == (episode, reaches)
        assert reward == pytest.approx(worth)
        assert discount == (0.0 if terminal else left)


def test_each_step_begins_one_transition() -> None:
    """Whatever n, the rows begin at the same steps as single-step rows."""
    single, several = (collected(n, AutoresetMode.NEXT_STEP) for n in (1, 3))
    whole = single[:, 0] < 8
    starts = [sorted(map(tuple, rows[rows[:, 0] < 8][:, :2])) for rows in (single, several)]
    assert whole.any()
    assert starts[0] == starts[1]


def test_more_steps_than_an_episode_has_sum_it_whole() -> None:
    """From the first step the row reaches the end, with the end's own discount."""
    for row in collected(10, AutoresetMode.NEXT_STEP):
        if row[1] == 0:
            assert row[COLUMNS.reward] == pytest.approx(2 + GAMMA * 3 + GAMMA**2 * 4)
            assert row[COLUMNS.discount] == (0.0 if row[0] % 2 == 1 else GAMMA**2)
