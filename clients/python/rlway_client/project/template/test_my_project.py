"""Tests of the environment. `make test` runs them; so does pytest."""

import unittest

import numpy as np
from gymnasium.utils.env_checker import check_env

from my_project import STEPS, MyProject


def play(seed, choose):
    """The observations and the return of one episode."""
    env = MyProject()
    observation, _ = env.reset(seed=seed)
    seen, total, ended = [observation], 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(choose(observation))
        seen.append(observation)
        total += reward
        ended = terminated or truncated
    return np.array(seen), total


def towards_the_berth(observation):
    """A rule that anybody could write: push back where the boat will be in a while."""
    position, velocity = observation
    return 1 - int(np.sign(position + 4 * velocity))


class TestMyProject(unittest.TestCase):
    def test_gymnasium_finds_nothing_wrong(self):
        check_env(MyProject(), skip_render_check=True)

    def test_an_episode_ends_in_time(self):
        seen, _ = play(1, lambda _: 1)
        assert len(seen) == STEPS + 1

    def test_a_seed_decides_the_whole_episode(self):
        np.testing.assert_array_equal(play(7, towards_the_berth)[0], play(7, towards_the_berth)[0])

    def test_steering_is_better_than_drifting(self):
        steered = [play(seed, towards_the_berth)[1] for seed in range(20)]
        drifted = [play(seed, lambda _: 1)[1] for seed in range(20)]
        assert np.mean(steered) > np.mean(drifted)


if __name__ == "__main__":
    unittest.main()
