"""The progress of a training, as a person sees it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from rlway_train.policies.exploration import ExplorationLevel
from rlway_train.training import progress
from rlway_train.training.forecast import Length
from rlway_train.training.progress import EVALUATING, LINE_S, TRAINING, Reporter, TrainingStatus


class Clock:
    """A clock that goes only when a test moves it, in place of the reporter's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def go(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def reporter(clock: Clock, lines: list[str]) -> Callable[[Length], Reporter]:  # noqa: ARG001  the clock comes first
    return lambda length: Reporter(length, lines.append)


def test_the_time_left_of_a_resumed_training_follows_from_its_own_steps(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """At ten steps a second since it was resumed, another hundred take ten seconds."""
    telling = Reporter(Length(1_000))
    clock.go(50)  # TensorFlow starts
    telling.begin(TrainingStatus(800))
    clock.go(10)
    telling.evaluated(TrainingStatus(900, mean_return=1.0))
    assert capsys.readouterr().err == "step     900 of 1,000  return 1  ETA 10 s\n"


def test_a_training_that_ends_by_its_episodes_is_measured_by_them(
    reporter: Callable[[Length], Reporter], clock: Clock, lines: list[str]
) -> None:
    """Three quarters of the episodes took 30 s, so the rest takes 10 s, although few of the steps are used up."""
    telling = reporter(Length(100_000, episodes=1_000))
    telling.begin(TrainingStatus())
    clock.go(30)
    telling.evaluated(TrainingStatus(4_800, episodes=750, mean_return=0.84), "best")
    telling.evaluated(TrainingStatus(6_364, episodes=1_000, mean_return=0.84), over=True)
    assert lines == [
        "step   4,800 of at most 100,000  episode 750 of 1,000  return 0.84  ETA 10 s  best",
        "step   6,364 of at most 100,000  episode 1,000 of 1,000  return 0.84  done",
    ]


def test_steps_end_a_training_whose_episodes_are_long(
    reporter: Callable[[Length], Reporter], clock: Clock, lines: list[str]
) -> None:
    """Half of the steps are taken and a tenth of the episodes have ended, so half of the steps are left."""
    telling = reporter(Length(1_000, episodes=100))
    telling.begin(TrainingStatus())
    clock.go(60)
    telling.evaluated(TrainingStatus(500, episodes=10, mean_return=7.0))
    assert lines[0].endswith("ETA 60 s")


def test_with_a_goal_the_time_left_is_an_estimate_once_there_is_a_trend(
    reporter: Callable[[Length], Reporter], clock: Clock, lines: list[str]
) -> None:
    """The first evaluation gives an upper bound. Once the goal is reached, no time is left."""
    telling = reporter(Length(100_000, stop_return=500.0))
    telling.begin(TrainingStatus())
    telling.evaluated(TrainingStatus(0, mean_return=20.0, first_return=20.0), "untrained")
    good = TrainingStatus(10_000, mean_return=100.25, std_return=80.0, evaluations=1, first_return=20.0)
    good.best_return, good.best_std, good.best_step = 100.25, 80.0, 10_000
    clock.go(60)
    telling.evaluated(good, "best")
    clock.go(60)
    telling.evaluated(replace(good, step=20_000, mean_return=60.0, evaluations=2))
    telling.evaluated(TrainingStatus(30_000, mean_return=500.0, evaluations=3, best_return=500.0), "best", over=True)
    assert lines == [
        "step       0 of at most 100,000  return 20  untrained",
        "step  10,000 of at most 100,000  return 100.2  ETA ≤ 9 min  best",
        "step  20,000 of at most 100,000  return 60.0  best 100.2 at 10,000  ETA about 6 min",
        "step  30,000 of at most 100,000  return 500  done  best",
    ]


def test_the_first_evaluation_does_not_multiply_the_time_left(
    reporter: Callable[[Length], Reporter], clock: Clock, lines: list[str]
) -> None:
    """A tenth takes 10 s, and 5 s to evaluate, 4 of them to confirm: nine tenths take 90 s, and 9 s to evaluate."""
    telling = reporter(Length(1_000))
    telling.begin(TrainingStatus())
    clock.go(10)
    telling.stage(EVALUATING)
    clock.go(5)
    telling.evaluated(TrainingStatus(100, mean_return=7.0, evaluations=1, unconfirmed=0.2))
    assert lines[0].endswith("ETA 99 s")


def test_a_line_is_written_every_few_seconds_in_every_stage(
    reporter: Callable[[Length], Reporter], clock: Clock, lines: list[str]
) -> None:
    """While TensorFlow starts, while random steps fill the replay, while an evaluation takes its time."""
    telling = reporter(Length(10_000))
    clock.go(LINE_S)
    telling.tick()
    telling.tick()  # once is enough
    telling.stage("random steps")
    clock.go(LINE_S)
    telling.update(TrainingStatus(500))
    clock.go(1)
    telling.update(TrainingStatus(600))
    telling.stage("evaluating")
    clock.go(LINE_S)
    telling.tick()
    assert lines == [
        "step       0 of 10,000  starting, 5 s",
        "step     500 of 10,000  random steps, 5 s",
        "step     600 of 10,000  evaluating, 5 s",
    ]


def test_a_terminal_shows_the_share_that_is_done(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three quarters of the episodes are three quarters of the bar, whatever their steps. The best return is there."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "120")
    with Reporter(Length(100_000, episodes=1_000)) as telling:
        telling.begin(TrainingStatus())
        clock.go(30)
        telling.stage(TRAINING)
        telling.update(TrainingStatus(4_800, episodes=750, mean_return=0.84, best_return=0.9, best_step=4_000))
    shown = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"training .* 75% 4,800 steps  return 0.84  best 0.9 at 4,000  ETA 10 s", shown)


def test_between_evaluations_speed_loss_and_exploration_are_shown(
    reporter: Callable[[Length], Reporter], clock: Clock, lines: list[str]
) -> None:
    """The return of an earlier evaluation is not shown."""
    telling = reporter(Length(10_000))
    telling.begin(TrainingStatus())
    telling.stage(TRAINING)
    clock.go(20)
    explored = ExplorationLevel("ε", "epsilon", 0.5)
    telling.update(
        TrainingStatus(5_000, 0, iterations_per_s=1234.5, loss=0.25, mean_return=9.0, exploration_level=explored)
    )
    assert lines == ["step   5,000 of 10,000  1,234 it/s  loss 0.2500  ε 0.50  ETA 20 s"]


def threads() -> int:
    """The number of reporters' threads."""
    return [thread.name for thread in threading.enumerate()].count("rlway-progress")


def test_lines_are_written_while_a_long_call_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the reporter's own thread writes here, and only until it is closed."""
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    monkeypatch.setattr(progress, "LOOK_S", 0.001)
    said = threading.Event()
    with Reporter(Length(10_000), lambda _: said.set()):
        assert said.wait(60)
        assert threads() == 1
    assert threads() == 0
