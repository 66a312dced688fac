"""Small environments, and one finished run that many tests use."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary

from rlway_client.contract.run import TrainingRun, read_run
from rlway_train.common.quiet import quiet_libraries
from tests.conftest import filmed_run
from tests.train.pictures import Pictures

quiet_libraries()


def pytest_configure(config: pytest.Config) -> None:
    """Ignores warnings from TensorFlow's and TF-Agents' own files."""
    for kind in ("distutils:DeprecationWarning", ".*with a literal:SyntaxWarning", ".*randrange:DeprecationWarning"):
        config.addinivalue_line("filterwarnings", f"ignore:{kind}")


RLWAY = Path(sys.executable).parent / "rlway"
Observation = np.ndarray[Any, np.dtype[Any]]


class Counting(gymnasium.Env[Observation, int]):
    """Observes (episode, step). Episodes last 3 steps: even ones are truncated, odd ones terminate."""

    observation_space: Any = Box(-np.inf, np.inf, (2,), np.float32)
    action_space: Any = Discrete(2)

    def __init__(self, **_: Any) -> None:
        self.episode, self.step_in_episode = -1, 0

    def reset(self, *, seed: int | None = None, **_: Any) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.step_in_episode = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:  # noqa: ARG002
        self.step_in_episode += 1
        ended, odd = self.step_in_episode == 3, self.episode % 2 == 1
        return self._observe(), 1.0 + self.step_in_episode, ended and odd, ended and not odd, {}

    def _observe(self) -> Observation:
        return np.array([self.episode, self.step_in_episode], np.float32)


class Undefined(Counting):
    """Observes a NaN from its fifth episode on."""

    def _observe(self) -> Observation:
        return np.array([np.nan if self.episode == 4 else self.episode, self.step_in_episode], np.float32)


class Broken(Counting):
    """Fails in its fifth episode."""

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        if self.episode == 4:
            raise ZeroDivisionError("division by zero")
        return super().step(action)


class Interrupted(Counting):
    """Ctrl-C, in its fifth episode."""

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        if self.episode == 4:
            raise KeyboardInterrupt
        return super().step(action)


class Echo(Counting):
    """Takes two numbers, from 0 to 1 and from −2 to 4, and observes the last ones."""

    action_space = Box(np.array([0, -2], np.float32), np.array([1, 4], np.float32))

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in the action space"
        _, reward, terminated, truncated, infos = super().step(0)
        return np.array(action, np.float32), reward, terminated, truncated, infos


class Unbounded(Counting):
    """Takes any number."""

    action_space = Box(-np.inf, np.inf, (1,), np.float32)


class Switches(Counting):
    """Takes four bits."""

    action_space = MultiBinary(4)


class Recall(gymnasium.Env[Observation, int]):
    """Shows −1 or 1, then zeros. The action three steps later pays 1 if it names what was shown."""

    observation_space: Any = Box(-1, 1, (1,), np.float32)
    action_space: Any = Discrete(2)

    def __init__(self, **_: Any) -> None:
        self.shown, self.steps = 0, 0

    def reset(self, *, seed: int | None = None, **_: Any) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self.shown, self.steps = int(self.np_random.integers(2)), 0
        return np.array([2 * self.shown - 1], np.float32), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        ended = self.steps == 4
        return np.zeros(1, np.float32), float(ended and action == self.shown), ended, False, {}


for kind in (Counting, Undefined, Broken, Interrupted, Echo, Unbounded, Switches, Recall, Pictures):
    gymnasium.register(f"rlway-tests/{kind.__name__}-v0", entry_point=kind)


@dataclass(frozen=True)
class Finished:
    """A run, and what its command printed."""

    folder: Path
    stdout: str
    stderr: str

    @property
    def run(self) -> TrainingRun:
        return read_run(self.folder)

    @property
    def printed(self) -> dict[str, Any]:
        printed: dict[str, Any] = json.loads(self.stdout)
        return printed


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A few seconds of training on CartPole, through the command as people run it."""
    folder = filmed_run(tmp_path_factory)
    return Finished(folder / "run", (folder / "stdout").read_text(), (folder / "stderr").read_text())
