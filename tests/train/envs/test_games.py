"""MinAtar's and Atari's games, as they are named."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import AnyArray, make_spec
from rlway_client.envs.episodes import make_env
from rlway_client.envs.worlds.minatar import GAMES
from rlway_train.envs.spaces import OneVector, one_vector
from tests.train.pictures import Pictures


def test_an_episode_of_minatar_follows_from_its_seed_alone() -> None:
    """Not from the episode before, whose last action would be repeated in MinAtar's own environments."""
    fresh, used = make_env("MinAtar/SpaceInvaders-v0"), make_env("MinAtar/SpaceInvaders-v0")
    used.reset(seed=3)
    used.step(5)
    for env in (fresh, used):
        env.reset(seed=8)
    for action in [1, 5, 3, 0, 5, 1] * 10:
        ours, theirs = fresh.step(action), used.step(action)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:3] == theirs[1:3]


@pytest.mark.parametrize("name", [name for name in GAMES if name.endswith("1")])
def test_each_game_of_minatar_is_an_image_of_bits(name: str) -> None:
    """It is of ten by ten cells, and can be filmed."""
    env = make_env(name)
    observation, _ = env.reset(seed=1)
    assert observation.dtype == np.bool_
    assert observation.shape[:2] == (10, 10)
    env.unwrapped.render_mode = "rgb_array"
    picture = np.asarray(env.render())
    assert picture.shape == (320, 320, 3)
    assert picture.dtype == np.uint8
    assert np.ptp(picture) > 0


@pytest.mark.parametrize("image", [np.full((5, 6), 0.7), np.full((5, 6), 300, np.int16)])
def test_an_image_that_is_no_bytes_is_refused(image: AnyArray) -> None:
    """A cast would make zeros of fractions, and 44 of 300."""
    space = Box(0, 255, (5, 6), np.uint8)
    spec = make_spec("observation", space.shape, "uint8", space.low, space.high)
    wrapped = OneVector(Pictures(), [spec], one_vector([spec], is_image=True))
    with pytest.raises(ValueError, match=r"observation: expected uint8 from 0 to 255, .*, got (float64|int16) from"):
        wrapped.observation(image)


def test_atari_has_its_usual_preprocessing_and_frames_are_stacked() -> None:
    """Grey pictures of 84 × 84, four frames together."""
    env = make_env("ALE/Pong-v5", frame_stack=4)
    observation, _ = env.reset(seed=1)
    assert (observation.shape, observation.dtype) == ((84, 84, 4), np.uint8)
    later = [env.step(0)[0] for _ in range(6)]
    np.testing.assert_array_equal(later[-1][..., 0], later[-4][..., 3])
    env.close()


@pytest.mark.parametrize(("name", "meant"), [("MinAtar/Brekout-v1", "MinAtar/Breakout"), ("ALE/Breakot-v5", "ALE/Br")])
def test_a_game_that_does_not_exist_is_refused_with_one_that_does(name: str, meant: str) -> None:
    """In one sentence."""
    with pytest.raises(EnvironmentFault, match=f"did you mean.*{meant}"):
        make_env(name)
