"""PyBullet's environments behind gymnasium's interface."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import AnyArray
from rlway_client.envs.find import find_environment
from rlway_train.envs.domain import find_domain
from tests.train.conftest import RLWAY

MINITAUR = "MinitaurBulletEnv-v0"
HALF_CHEETAH = "HalfCheetahBulletEnv-v0"
CARTPOLE = "CartPoleBulletEnv-v1"


@pytest.fixture(scope="module")
def minitaur() -> Iterator[gymnasium.Env[Any, Any]]:
    env = find_domain(MINITAUR, continuous=True).make(render=True)
    yield env
    env.close()


def walk(env: gymnasium.Env[Any, Any], seed: int, steps: int = 30) -> AnyArray:  # -> [steps + 1, obs_dim]
    """The observations from this seed on, under the same random actions each time."""
    env.action_space.seed(0)
    seen = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        seen.append(env.step(env.action_space.sample())[0])
    return np.stack(seen)


def test_minitaur_is_what_its_package_says_it_is() -> None:
    """28 numbers, 8 motors between −1 and 1, 1,000 steps; and no bounds on what is observed, as it keeps to none."""
    domain = find_domain(MINITAUR, continuous=True)
    assert (domain.observation.shape, domain.observation.dtype) == ((28,), "float32")
    assert (domain.action.shape, domain.action.minimum, domain.action.maximum) == ((8,), -1.0, 1.0)
    assert (domain.max_episode_steps, domain.reward_threshold) == (1000, 15.0)
    assert domain.observation.minimum is None
    assert find_domain(MINITAUR, time_limit=7, continuous=True).max_episode_steps == 7


def test_a_seed_reproduces_an_episode_whatever_ran_before_it(minitaur: gymnasium.Env[Any, Any]) -> None:
    """Masses and frictions, which Minitaur draws at each reset, follow from the seed alone."""
    first, other = walk(minitaur, seed=1), walk(minitaur, seed=2)
    random.seed(5)
    np.random.seed(5)
    np.testing.assert_array_equal(walk(minitaur, seed=1), first)
    assert np.abs(first - other).max() > 0.1


def test_episodes_differ_where_no_seed_is_given(minitaur: gymnasium.Env[Any, Any]) -> None:
    """The second episode of a seed differs from the first, and follows from the seed, too."""
    seconds = []
    for _ in range(2):
        first, _ = minitaur.reset(seed=3)
        seconds.append(minitaur.reset()[0])
        assert np.abs(first - seconds[-1]).max() > 0
    np.testing.assert_array_equal(*seconds)


def test_a_reset_leaves_the_global_generators_alone(minitaur: gymnasium.Env[Any, Any]) -> None:
    """Other code in the process draws the same numbers as without the reset."""
    random.seed(7)
    np.random.seed(7)
    expected = (random.random(), np.random.random())
    random.seed(7)
    np.random.seed(7)
    minitaur.reset(seed=0)
    assert (random.random(), np.random.random()) == expected


def test_a_picture_is_small_enough_to_film(minitaur: gymnasium.Env[Any, Any]) -> None:
    """480 × 360 pixels with something on them, at the environment's own rate."""
    minitaur.reset(seed=0)
    picture = minitaur.render()
    assert isinstance(picture, np.ndarray)
    assert (picture.shape, picture.dtype) == ((360, 480, 3), np.uint8)
    assert np.ptp(picture) > 0
    assert minitaur.metadata["render_fps"] == 50


def test_a_time_limit_truncates_and_does_not_terminate() -> None:
    """HalfCheetah never ends by itself; a fallen pole ends the task at any step."""
    cheetah = find_domain(HALF_CHEETAH, time_limit=3, continuous=True).make()
    cheetah.reset(seed=0)
    assert [cheetah.step(cheetah.action_space.sample())[2:4] for _ in range(3)] == [(False, False)] * 2 + [
        (False, True)
    ]
    pole = find_domain(CARTPOLE).make()
    pole.reset(seed=0)
    ends = [(False, False)]
    while not any(ends[-1]):
        ends.append(pole.step(1)[2:4])
    assert ends[-1] == (True, False)
    cheetah.close()
    pole.close()


def test_many_of_them_step_together() -> None:
    """Each with its own seed and its own world, as other environments do."""
    many = find_domain(HALF_CHEETAH, continuous=True).make_many(2)
    first = many.reset(seed=0)
    step = many.step(np.zeros((2, 6), np.float32))
    assert first.shape == step.observation.shape == (2, 26)
    assert np.abs(first[0] - first[1]).max() > 0
    many.close()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("MinitorBulletEnv-v0", "did you mean MinitaurBulletEnv-v0"),
        ("minitaurbulletenv-v0", "did you mean MinitaurBulletEnv-v0"),
        ("bullet", "PyBullet has AntBulletEnv-v0, "),
    ],
)
def test_an_unknown_id_is_answered_with_similar_ones(name: str, says: str) -> None:
    """Only PyBullet's own ids are suggested."""
    with pytest.raises(EnvironmentFault) as refused:
        find_environment(name)
    assert f"there is no environment {name!r}; {says}" in str(refused.value)


def test_what_pybullet_and_gym_print_is_not_shown(tmp_path: Path) -> None:
    """stdout is one JSON document and stderr is empty, although PyBullet prints from C, through a buffer."""
    command = [str(RLWAY), "env", "check", HALF_CHEETAH, "--episodes", "1", "--time-limit", "5", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["steps"] == 5


def test_the_importers_own_folders_stay_first() -> None:
    """pybullet_envs puts site-packages first, which could shadow a user's module."""
    code = "import sys; from rlway_train.envs.domain import find_domain; before = [*sys.path]; "
    code += f"find_domain({CARTPOLE!r}).make(); print(sys.path == before)"
    done = subprocess.run([RLWAY.with_name("python"), "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "True"
