"""The environments that come with RLway, and how one is found by its name."""

from __future__ import annotations

import subprocess
import sys
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlway_client.contract.errors import EnvironmentFault, UsageError
from rlway_client.envs.episodes import make_env, open_env, play_locally
from rlway_client.envs.find import find_environment
from rlway_client.envs.worlds import WORLDS
from rlway_client.envs.worlds.grid_world import FREE, GridWorld

UP, DOWN, LEFT, RIGHT = range(4)
POSITIONS = "rlway/CartPolePositions-v0"
MAZE = """
import gymnasium
from gymnasium.spaces import Box, Discrete

class Maze(gymnasium.Env):
    observation_space, action_space = Box(0, 1, (1,)), Discrete(2)

SIZE = 3
"""


@pytest.mark.parametrize("name", WORLDS)
def test_gymnasiums_checker_finds_no_fault(name: str) -> None:
    """It checks spaces, seeds, determinism and rendering."""
    # CartPole's picture is gymnasium's own, and its checker wants a display to show it on.
    check_env(make_env(name).unwrapped, skip_render_check=name == POSITIONS)


def test_cartpole_positions_are_cartpole_without_its_velocities() -> None:
    """The same seed and the same pushes lead through the same positions and angles to the same end."""
    whole, positions = make_env("CartPole-v1"), make_env(POSITIONS)
    for seed in range(5):
        (expected, _), (observation, _) = whole.reset(seed=seed), positions.reset(seed=seed)
        ended = False
        for step in count():
            np.testing.assert_array_equal(observation, expected[[0, 2]])
            if ended:
                break
            push = step % 3 // 2
            expected, *rest = whole.step(push)
            observation, *same = positions.step(push)
            assert same == rest
            ended = bool(rest[1])


def test_vectorised_cartpole_positions_are_vectorised_cartpole_without_its_velocities() -> None:
    """Also in the steps that reset an environment."""
    whole, positions = (gymnasium.make_vec(name, 4, "vector_entry_point") for name in ("CartPole-v1", POSITIONS))
    assert positions.observation_space.shape == (4, 2)
    (expected, _), (observation, _) = whole.reset(seed=0), positions.reset(seed=0)
    np.testing.assert_array_equal(observation, expected[:, [0, 2]])
    ends = 0
    for _ in range(60):
        push = np.ones(4, np.int64)
        expected, *rest = whole.step(push)
        observation, *same = positions.step(push)
        np.testing.assert_array_equal(observation, expected[:, [0, 2]])
        np.testing.assert_array_equal(same[:3], rest[:3])
        ends += int(rest[1].sum())
    assert ends >= 8


def test_the_short_way_through_the_grid_pays_what_it_should() -> None:
    """Up twice and right three times: four steps that cost 0.04, and the goal."""
    env = open_env("rlway/GridWorld-v0")
    way = iter([UP, UP, RIGHT, RIGHT, RIGHT])
    played = play_locally(env, lambda _: next(way), 1, 0, lambda _: None)
    assert played.returns == [pytest.approx(0.84)]
    assert played.steps == 5


def test_wall_and_border_hold_and_the_trap_ends_the_episode() -> None:
    """The cells that these moves visit, from the start to the trap."""
    env = GridWorld()
    seen = [env.reset(seed=0)[0], *(env.step(action)[0] for action in (LEFT, DOWN, RIGHT, UP, RIGHT, RIGHT))]
    assert [int(observation.argmax()) for observation in seen] == [8, 8, 8, 9, 9, 10, 11]
    _, reward, terminated, truncated, _ = env.step(UP)
    assert (reward, terminated, truncated) == (-1.0, True, False)


def test_a_random_start_is_any_free_cell_and_follows_from_the_seed() -> None:
    """Never the wall, the goal or the trap."""
    env = GridWorld(random_start=True)
    starts = [int(env.reset(seed=seed)[0].argmax()) for seed in range(200)]
    assert {divmod(start, 4) for start in starts} == set(FREE)
    assert starts == [int(env.reset(seed=seed)[0].argmax()) for seed in range(200)]


def test_the_card_game_pays_by_the_distance_to_21() -> None:
    """Four draws or fewer; the reward follows from the sum that was observed."""
    env = make_env("rlway/CardGame-v0")
    for seed in range(100):
        sums = [int(env.reset(seed=seed)[0][0])]
        for action in (0, 0, 0, 1):
            observation, reward, terminated, _, _ = env.step(action)
            sums.append(int(observation[0]))
            if terminated:
                break
        assert all(1 <= after - before <= 10 for before, after in pairwise(sums[:4]))
        assert reward == (sums[-1] - 21 if sums[-1] <= 21 else -21)


@pytest.mark.parametrize("form", ["file", "module"])
def test_an_environment_of_ones_own_is_found_by_its_class(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class in a file, and a class in a module of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("one_maze.py").write_text(MAZE)
    name = "one_maze.py:Maze" if form == "file" else "one_maze:Maze"
    assert type(make_env(name).unwrapped).__name__ == "Maze"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rlway/GridWorl-v0", "did you mean rlway/GridWorld-v0"),
        ("absent.py:Maze", "absent.py: no such file"),
        ("absent_module:Maze", "absent_module: could not be imported: ModuleNotFoundError"),
        ("other_maze.py:Mase", "the module has no 'Mase'; its environments: Maze"),
        ("other_maze.py:SIZE", "expected a class derived from gymnasium.Env or TF-Agents' PyEnvironment"),
        ("other_maze.py", "has Maze; name one of them, such as other_maze.py:Maze."),
        ("torn.py:Maze", "torn.py: could not be imported: SyntaxError"),
        ("math:sin", "cannot be called without x; name a function"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused_in_one_sentence(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which part of the name is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("other_maze.py").write_text(MAZE)
    Path("torn.py").write_text("class Maze(")
    with pytest.raises(EnvironmentFault) as refused:
        find_environment(name)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bullet_without_pybullet_says_what_to_install() -> None:
    """Other environments do not need it, and .venv does not have it."""
    with pytest.raises(UsageError, match=r"install 'rlway-client\[pybullet\]' with pip or uv, or use .*\.venv-train"):
        make_env("MinitaurBulletEnv-v0")


def test_the_error_of_a_constructor_is_reported(tmp_path: Path) -> None:
    """On one line."""
    file = tmp_path / "needy.py"
    file.write_text("import gymnasium\nclass Needy(gymnasium.Env):\n    def __init__(self): self.grid = [0] * 'x'\n")
    with pytest.raises(EnvironmentFault, match=r"could not be made: TypeError: can't multiply sequence"):
        make_env(f"{file}:Needy")


def test_gymnasium_is_imported_only_to_play() -> None:
    """A robot's program does not wait for it."""
    code = "import sys, rlway_client, rlway_client.envs.find; print('gymnasium' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_gymnasium_finds_the_worlds_without_rlways_commands() -> None:
    """gymnasium's own form of a name imports the module that registers them."""
    env: Any = gymnasium.make("rlway_client.envs.worlds:rlway/GridWorld-v0", render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (192, 256, 3)
    assert np.ptp(env.render()) > 0


def test_the_time_limit_of_the_training_replaces_the_environments_own() -> None:
    """A policy that was trained with shorter episodes is played with them."""
    env = make_env("rlway/GridWorld-v0", max_episode_steps=3)
    env.reset(seed=0)
    ended = [env.step(LEFT)[3] for _ in range(3)]  # against the border
    assert ended == [False, False, True]
