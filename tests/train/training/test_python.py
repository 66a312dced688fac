"""Training from Python, as a notebook does, and its progress."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import rlway_train
from rlway_client.contract.errors import EnvironmentFault, RlwayError, UsageError
from rlway_client.contract.run import TrainingRun, kept_checkpoints, read_run
from rlway_export.sources.run_facts import better_than_before
from rlway_train.runs.checkpoint import Checkpoints
from rlway_train.training import progress
from rlway_train.training.loss_log import LOSS, RATE
from tests.train.conftest import Counting
from tests.train.summaries import read_scalars

pytestmark = pytest.mark.slow

RANDOM_STEPS = 1_200
SMALL: dict[str, Any] = {
    "envs": 2, "block_steps": 16, "block_iterations": 8, "batch_size": 4, "hidden": (8,), "xla": False,
    "films": False, "final_episodes": 2, "eval_episodes": 2, "confirm_episodes": 0, "eval_every": 64, "log_every": 16,
}  # fmt: skip


class Souring(Counting):
    """Pays less in each episode than in the one before, so the untrained policy earns the most."""

    begun = 0

    def reset(self, *, seed: int | None = None, **options: Any) -> Any:
        Souring.begun += 1
        return super().reset(seed=seed, **options)

    def step(self, action: int) -> Any:
        observation, _, terminated, truncated, infos = super().step(action)
        return observation, -float(Souring.begun), terminated, truncated, infos


gymnasium.register("rlway-tests/Souring-v0", entry_point=Souring)


class Watched(NamedTuple):
    """A training, and its lines of progress."""

    folder: Path
    run: TrainingRun
    lines: list[str]

    @property
    def evaluations(self) -> list[dict[str, float]]:
        with (self.folder / "evaluations.csv").open(newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A few blocks after 1,200 random steps, in an environment of this module, with a line for every event."""
    folder, lines = tmp_path_factory.mktemp("runs") / "souring", list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "LINE_S", 0.0)
        trained = rlway_train.train(
            "rlway-tests/Souring-v0",
            run=folder,
            seed=3,
            steps=RANDOM_STEPS + 160,
            initial_steps=RANDOM_STEPS,
            log=lines.append,
            **SMALL,
        )
    assert trained.folder == folder
    return Watched(folder, trained.run, lines)


def test_python_gets_what_the_folder_holds(watched: Watched) -> None:
    """Settings are Python values, and the environment may be registered in this process."""
    assert watched.run == read_run(watched.folder)
    assert (watched.run.env, watched.run.seed) == ("rlway-tests/Souring-v0", 3)
    assert watched.run.hyperparameters["hidden"] == [8]


def test_the_curve_begins_with_the_untrained_policy(watched: Watched) -> None:
    """Step 0 is evaluated before the random steps, and shown like any other evaluation."""
    first, *others = watched.evaluations
    assert (first["step"], first["iteration"], first["episodes"]) == (0, 0, 2)
    assert [row["step"] for row in others] == [1216, 1280, 1344, 1360]
    returns = [line for line in watched.lines if " return " in line]
    assert len(returns) == 1 + len(others)
    assert re.match(r"step       0 of 1,360  return -\d.*  untrained$", returns[0])
    assert returns[-1].split("  ")[-1] == "done"


def test_the_untrained_policy_is_never_the_best(watched: Watched) -> None:
    """It earns the most here, but only trained policies are kept, exported and published."""
    first, second, *others = watched.evaluations
    assert first["mean_return"] > second["mean_return"] > max(row["mean_return"] for row in others)
    assert watched.run.best_checkpoint == second["iteration"]
    assert [kept.iteration for kept in kept_checkpoints(watched.folder)] == [8, watched.run.iterations]
    assert better_than_before(watched.folder) == {8}


def test_every_stage_that_takes_a_while_shows_progress(watched: Watched) -> None:
    """The random steps do, too, which fill the replay in parts."""
    told = "\n".join(watched.lines)
    for part in ("500", "1,000", "1,200"):
        assert f" {part} of 1,360  random steps, " in told
    assert re.search(r"step   1,2\d\d of 1,360  [\d,]+ it/s  loss \d", told)


def test_the_loss_is_logged_every_so_many_updates(watched: Watched) -> None:
    """Every 16 updates, which are two blocks, their mean; and the rest at an evaluation."""
    saved = Checkpoints(watched.folder).read()
    assert saved is not None
    losses = [loss for _, loss in saved.history.blocks]
    assert len(losses) == 10
    scalars = read_scalars(watched.folder)
    expected = [
        (RANDOM_STEPS + 16 * last, sum(losses[first:last]) / (last - first))
        for first, last in ((0, 1), (1, 2), (2, 4), (4, 5), (5, 6), (6, 8), (8, 9), (9, 10))
    ]
    assert [step for step, _ in scalars[LOSS]] == [step for step, _ in expected]
    assert [loss for _, loss in scalars[LOSS]] == pytest.approx([loss for _, loss in expected], rel=1e-5)
    assert [step for step, _ in scalars[RATE]] == [step for step, _ in expected[1:]]  # the first block is not timed
    assert min(rate for _, rate in scalars[RATE]) > 0
    assert scalars["Metrics/AverageReturn"][0][0] == 0


def test_python_resumes_a_run(watched: Watched) -> None:
    """The saved run decides on the algorithm. The curve continues and does not begin again."""
    before = watched.evaluations
    longer = rlway_train.train(run=watched.folder, resume=True, steps=RANDOM_STEPS + 320, log=lambda _: None)
    assert longer.run.steps == RANDOM_STEPS + 320
    assert watched.evaluations[: len(before)] == before
    assert [row["step"] for row in watched.evaluations].count(0) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({}, "name an environment"),
        ({"env": "CartPole-v1", "step": 100}, "step: is no setting of dqn; did you mean steps?"),
        ({"env": "CartPole-v1", "qqq": 1}, "qqq: is no setting of dqn; `rlway train dqn --help` shows them"),
        ({"preset": "pendulum-sac", "double": True}, "double: is no setting of sac"),
        ({"env": "CartPole-v1", "steps": "many"}, "steps: expected int, got 'many'"),
        ({"env": "CartPole-v1", "gamma": "0.9"}, "gamma: expected float, got '0.9'"),
        ({"env": "CartPole-v1", "episodes": 2.5}, "episodes: expected int, got 2.5"),
        ({"env": "CartPole-v1", "hidden": "64,x"}, "--hidden: expected layer sizes"),
        ({"env": "CartPole-v1", "loss": "cubic"}, "--loss: expected huber or squared, got cubic"),
        ({"env": "CartPole-v1", "gamma": 2}, "--gamma: expected a number between 0 and 1, got 2.0"),
        ({"env": "CartPole-v1", "algorithm": "ppo"}, "expected dqn or sac, got ppo"),
        ({"env": "CartPole-v1", "publish": "models"}, "expected a folder and a policy's name"),
        ({"env": "Cartpol-v1"}, "did you mean CartPole-v1"),
        ({"env": CartPoleEnv()}, "env: expected a name or a class, got CartPoleEnv"),
    ],
)
def test_invalid_arguments_are_refused_in_a_sentence(words: dict[str, Any], says: str, tmp_path: Path) -> None:
    """They raise before anything is written."""
    with pytest.raises(RlwayError) as refused:
        rlway_train.train(run=tmp_path / "new" / "run", **words)
    assert says in str(refused.value)
    assert isinstance(refused.value, UsageError) or "did you mean" in says
    assert list(tmp_path.iterdir()) == []


def test_an_environment_may_be_a_class(tmp_path: Path) -> None:
    """This one does not suit the algorithm, and is named as a string would name it."""
    with pytest.raises(EnvironmentFault, match=r"^gymnasium\.envs\.classic_control\.cartpole:CartPoleEnv: "):
        rlway_train.train(CartPoleEnv, algorithm="sac", run=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
