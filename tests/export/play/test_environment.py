"""The environment that an export plays its policy in: which one it is, and what is refused before any conversion."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.errors import EnvironmentFault, ExportRefused, RlwayError, UsageError
from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import TensorSpec
from rlway_client.envs.names import portable
from rlway_export.bundle.writer import write_bundle
from rlway_export.play.environment import Environment
from rlway_export.sources.detect import open_source
from rlway_export.watch.kinds import Told
from rlway_export.watch.watch import Publication, Watch
from tests.conftest import TRAIN, run_command
from tests.export import stock

pytestmark = pytest.mark.slow

WORLDS = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete


class Line(gymnasium.Env):
    observation_space = Box(-2, 2, (4,), np.float32)
    action_space = Discrete(3)
    length = 5

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = 0
        return self._see(), {}

    def step(self, action):
        self._steps += 1
        return self._see(), float(action), self._steps == self.length, False, {}

    def _see(self):
        return self.observation_space.low / 2 + self.np_random.random(self.observation_space.shape, np.float32)


def make():
    return Line()


class Endless(Line):
    length = -1


class Short(Line):
    observation_space = Box(-2, 2, (3,), np.float32)


class Two(Line):
    action_space = Discrete(2)


class Pushed(Line):
    action_space = Box(-1, 1, (2,), np.float32)


class Nested(Line):
    def _see(self):
        return {"line": super()._see()}


class Broken(Line):
    def step(self, action):
        if self._steps == 3:
            raise RuntimeError("the motor is gone")
        return super().step(action)


class Torn(Line):
    def reset(self, *, seed=None, options=None):
        raise RuntimeError("no power")
"""
GUIDE = """
import numpy as np
from tf_agents.environments.py_environment import PyEnvironment
from tf_agents.specs import BoundedArraySpec
from tf_agents.trajectories import time_step as ts


class Line(PyEnvironment):
    def action_spec(self):
        return BoundedArraySpec((), np.int32, 0, 2, "action")

    def observation_spec(self):
        return BoundedArraySpec((4,), np.float32, -2, 2, "observation")

    def _reset(self):
        self._steps = 0
        return ts.restart(np.zeros(4, np.float32))

    def _step(self, action):
        self._steps += 1
        seen = np.full(4, self._steps / 5, np.float32)
        return ts.termination(seen, 1.0) if self._steps == 5 else ts.transition(seen, 1.0)
"""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of environments."""
    folder = tmp_path_factory.mktemp("worlds")
    (folder / "worlds.py").write_text(WORLDS)
    (folder / "guide.py").write_text(GUIDE)
    return folder


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of TF-Agents alone: float32[4] to one of three actions."""
    return stock.save(stock.greedy("dqn"), tmp_path_factory.mktemp("policy") / "saved")


def export(
    policy: Path, models: Path, env: str | None = None, episodes: int = 0, time_limit: int | None = None
) -> Manifest:
    """The SavedModel alone, which is quick."""
    source = open_source(policy, "best")
    return write_bundle(source, models, "p", [], lambda _: None, episodes, None, env, time_limit).manifest


@pytest.mark.parametrize("name", ["worlds.py:Line", "guide.py:Line"])
def test_a_saved_model_is_played_in_the_named_environment(
    name: str, policy: Path, worlds: Path, tmp_path: Path
) -> None:
    """Observations are collected there, its return is measured, and the manifest names the environment."""
    env = f"{worlds}/{name}"
    manifest = export(policy, tmp_path, env, episodes=2)
    assert (manifest.env, manifest.compared_over, manifest.notes) == (portable(env), "visited", [])
    (observed,) = manifest.observed
    assert observed.rows == 2048
    assert -1 <= np.min(observed.minimum) < np.max(observed.maximum) <= 1
    (measured,) = manifest.measured
    assert measured.episodes == 2
    assert measured.mean_return == 5.0 if name.startswith("guide") else 0 <= (measured.mean_return or 0) <= 10
    assert f"- environment, as the export was told: `{portable(env)}`" in (tmp_path / "p/1/README.md").read_text()


def test_a_named_environment_gives_the_observations(policy: Path, worlds: Path, tmp_path: Path) -> None:
    """Without --evaluate, only these are collected in it."""
    manifest = export(policy, tmp_path, f"{worlds}/worlds.py:Line")
    assert (manifest.compared_over, manifest.measured[0].episodes) == ("visited", 0)


def test_given_observations_come_before_collected_ones(policy: Path, worlds: Path, tmp_path: Path) -> None:
    """The environment is then only for --evaluate, and for those who play the policy."""
    np.savez(tmp_path / "rows.npz", observation=np.zeros((2100, 4), np.float32))
    source, env = open_source(policy, "best"), f"{worlds}/worlds.py:Line"
    manifest = write_bundle(source, tmp_path, "p", [], lambda _: None, 1, tmp_path / "rows.npz", env).manifest
    assert (manifest.compared_over, manifest.env, manifest.measured[0].episodes) == ("given", portable(env), 1)


def test_a_time_limit_ends_episodes_that_would_never_end(policy: Path, worlds: Path, tmp_path: Path) -> None:
    """From then on it is the policy's own clock, where the source has none."""
    manifest = export(policy, tmp_path, f"{worlds}/worlds.py:Endless", episodes=2, time_limit=7)
    assert manifest.max_episode_steps == 7
    assert manifest.measured[0].episodes == 2


MISFITS = {
    "Short": r"does not give what the policy observes: observation: expected 4 elements?|expected float32\[4\], got 3",
    "Nested": r"does not give what the policy observes: observation: expected float32\[4\], got an object",
    "Two": r"takes actions of Discrete\(2\), and one of the policy's is 2\.",
    "Pushed": r"takes actions of Box\(-1\.0, 1\.0, \(2,\), float32\), and one of the policy's is 0\.",
    "Torn": r"its reset\(\) raised RuntimeError: no power",
    "Nowhere": r"the module has no 'Nowhere'",
}


@pytest.mark.parametrize("name", MISFITS)
def test_an_environment_that_does_not_fit_is_refused_at_once(
    name: str, policy: Path, worlds: Path, tmp_path: Path
) -> None:
    """One sentence, which names the environment and what does not fit; nothing is published."""
    steps: list[str] = []
    source, env = open_source(policy, "best"), f"{worlds}/worlds.py:{name}"
    with pytest.raises(EnvironmentFault, match=MISFITS[name]) as refusal:
        write_bundle(source, tmp_path / "models", "p", [], steps.append, 1, None, env)
    assert str(refusal.value).startswith(env)
    assert len(str(refusal.value)) < 300
    assert [step for step in steps if not step.startswith("baking")] == []
    assert not (tmp_path / "models").exists()


def test_an_export_fails_with_its_named_environment(policy: Path, worlds: Path, tmp_path: Path) -> None:
    """A user who names an environment does not want sampled observations instead."""
    with pytest.raises(EnvironmentFault, match=r"its step\(\) raised RuntimeError: the motor is gone at step"):
        export(policy, tmp_path / "models", f"{worlds}/worlds.py:Broken")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--evaluate", "5"], r"environment that the policy was trained in is not known; name one with --env\."),
        (
            ["--evaluate", "5", "--env", "CartPool-v1"],
            r"there is no environment 'CartPool-v1'; did you mean CartPole-v1",
        ),
        (["--env", "worlds.py"], r"worlds\.py: no such file"),
        (["--time-limit", "5"], r"--time-limit: ends the episodes of --evaluate and those in --env"),
        (["--observations", "rows.npz"], r"rows\.npz: cannot be read: .*No such file"),
    ],
)
def test_the_command_refuses_before_tensorflow_is_loaded(
    words: list[str], expected: str, policy: Path, tmp_path: Path
) -> None:
    """One line on stderr, and no folder of bundles."""
    done = run_command(TRAIN, "export", policy, "--models", tmp_path / "models", "--policy", "p", *words)
    assert done.status in (1, 2)
    (line,) = done.stderr.splitlines()
    assert re.match(f"rlway: .*{expected}", line)
    assert not (tmp_path / "models").exists()


@pytest.fixture
def own_run(trained_run: Path, worlds: Path, tmp_path: Path) -> Path:
    """A run with few observations, whose environment is code."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    rows = np.load(run / "observations.npz")["observation"][:50]
    np.savez(run / "observations.npz", observation=rows)
    (worlds / "own.py").write_text(
        "from gymnasium.envs.classic_control import CartPoleEnv as Own\n\nprint('own code')\n"
    )
    for name in ("job.json", "run.json"):
        facts = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(facts | {"env": f"{worlds}/own.py:Own", "max_episode_steps": 30}))
    return run


def test_code_that_only_a_run_names_is_not_run(
    own_run: Path, worlds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """--evaluate is refused, and no more observations are collected; the sentences say which --env would allow it."""
    asked = re.escape(f"--env {portable(f'{worlds}/own.py:Own')}")
    with pytest.raises(UsageError, match=rf"code, which never runs unasked; .* {asked}"):
        export(own_run, tmp_path / "models", episodes=1)
    assert not (tmp_path / "models").exists()
    few = export(own_run, tmp_path / "models")
    assert re.search(rf"no observations could be collected: .*{asked}", few.notes[0])
    assert few.observed[0].rows == 50
    assert "own code" not in capfd.readouterr().out
    many = export(own_run, tmp_path / "models", f"{worlds}/own.py:Own", episodes=1)
    assert (many.notes, many.observed[0].rows) == ([], 2048)
    assert many.measured[0].mean_return == 30  # the clock of the training


def test_a_run_that_is_played_elsewhere_says_so(trained_run: Path, worlds: Path, tmp_path: Path) -> None:
    """The manifest keeps the environment of the training, and its clock does not hold in another one."""
    (worlds / "other.py").write_text("from gymnasium.envs.classic_control import CartPoleEnv as Other\n")
    manifest = export(trained_run, tmp_path, f"{worlds}/other.py:Other", episodes=1, time_limit=20)
    assert manifest.env == "CartPole-v1"
    (note,) = manifest.notes
    assert (
        note == f"it was played in {portable(f'{worlds}/other.py:Other')} for this export, and trained in CartPole-v1."
    )
    assert manifest.measured[0].mean_return == 20
    (note,) = export(trained_run, tmp_path, episodes=1, time_limit=20).notes
    assert note == "its episodes were ended after 20 steps for this export."


def test_an_environment_of_a_run_is_checked_before_it_is_followed(own_run: Path, worlds: Path, tmp_path: Path) -> None:
    """With --watch as well, where otherwise each checkpoint would be refused."""

    def follow(env: str | None) -> None:
        watch = Watch(own_run, Publication(tmp_path / "models", "p", [], 1, env), Told("new"))
        watch.publish(0.01, None, lambda _: None, lambda _: None)

    with pytest.raises(UsageError, match="which never runs unasked"):
        follow(None)
    with pytest.raises(EnvironmentFault, match="does not give what the policy observes"):
        follow(f"{worlds}/worlds.py:Short")


def test_the_actions_of_a_discretised_environment_are_checked_as_the_policy_has_them() -> None:
    """There are as many as there are values behind them."""

    def check(values: list[float], highest: int) -> None:
        action = TensorSpec("action", (), "int64", 0, highest)
        interface = Interface([TensorSpec("observation", (3,), "float32")], [action], None, [], [])
        Environment("Pendulum-v1", values, None).check(interface)

    check([-2.0, 0.0, 2.0], 2)
    with pytest.raises(EnvironmentFault, match=r"Pendulum-v1: takes actions of Discrete\(3\), and one of .* is 4\."):
        check([-2.0, 0.0, 2.0], 4)


def test_a_policy_without_known_bounds_is_checked_as_far_as_possible() -> None:
    """Without bounds any number may come, but a kind of action that the environment lacks is refused."""
    interface = Interface(
        [TensorSpec("observation", (4,), "float32")], [TensorSpec("action", (), "int64")], None, [], []
    )
    Environment("CartPole-v1", None, None).check(interface)
    pushed = interface._replace(actions=[TensorSpec("action", (2,), "float32")])
    with pytest.raises(RlwayError, match=r"takes actions of Discrete\(2\), and one of the policy's is float32\[2\]\."):
        Environment("CartPole-v1", None, None).check(pushed)


def test_a_file_of_observations_is_checked_first(trained_run: Path, tmp_path: Path) -> None:
    """A run's inputs are known, so a missing array is noticed."""
    np.savez(tmp_path / "rows.npz", pixels=np.zeros((3, 4)))
    steps: list[str] = []
    with pytest.raises(UsageError, match="has no array observation"):
        write_bundle(open_source(trained_run, "best"), tmp_path / "m", "p", [], steps.append, 0, tmp_path / "rows.npz")
    assert steps == []


def test_untrained_weights_are_refused_before_they_are_played(trigger: Path, worlds: Path, tmp_path: Path) -> None:
    """Whatever else is asked for."""
    copy = shutil.copytree(trigger, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(ExportRefused, match="--checkpoint initial"):
        export(copy, tmp_path / "models", f"{worlds}/worlds.py:Line", episodes=1)
