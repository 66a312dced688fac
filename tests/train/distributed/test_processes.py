"""One training in several processes, any of which may die. All are real commands, on their own port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rlway_client.contract.run import read_run
from rlway_train.runs.checkpoint import Checkpoints
from tests.conftest import TRAIN
from tests.ports import free_port, wait_for

pytestmark = pytest.mark.slow

SMALL = "--env CartPole-v1 --no-films --hidden 16 --envs 4 --initial-steps 200 --block-steps 32 --block-iterations 4 "
OFTEN = "--eval-every 640 --eval-episodes 2 --confirm-episodes 0 --final-episodes 2 "
FAILED, INTERRUPTED = 1, 130
EVALUATED = r"^step +[1-9].* return "  # of a trained policy: this is then saved
PATIENCE_S = 300.0  # for a process to end; on a busy machine TensorFlow takes a minute to start

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `rlway train` with these words. Processes that are left at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def starting(words: str) -> subprocess.Popen[str]:
        command = [str(TRAIN), "train", *words.split()]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield starting
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def hear(process: subprocess.Popen[str], words: str) -> str:
    """Reads stderr up to a line with these words, and returns the line."""
    assert process.stderr is not None
    heard = []
    for line in process.stderr:
        heard.append(line)
        if re.search(words, line):
            return line
    pytest.fail(f"ended without saying {words!r}, but: {''.join(heard)}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status, and the last line on stderr."""
    _, said = process.communicate(timeout=PATIENCE_S)
    return process.returncode, (said.strip().splitlines() or [""])[-1]


def start_replay(start: Start, port: int, more: str = "") -> subprocess.Popen[str]:
    replay = start(f"replay --port {port} --min-size 200 --samples-per-insert 8 {more}")
    hear(replay, rf"replay on port {port}")
    return replay


def test_actors_come_and_go_and_a_killed_learner_resumes(start: Start, tmp_path: Path) -> None:
    """The others carry on. The learner resumes from its last checkpoint, and all end with it."""
    port = free_port()
    start_replay(start, port)
    first = start(f"actor --replay localhost:{port}")
    folder = tmp_path / "run"
    learner = f"learner --replay localhost:{port} --run {folder} --resume "
    training = start(learner + SMALL + OFTEN + "--steps 1000000")
    hear(training, EVALUATED)
    first.kill()
    second = start(f"actor --replay localhost:{port}")
    hear(second, "acting in CartPole-v1")
    hear(training, EVALUATED)
    hear(training, EVALUATED)
    training.kill()
    training.communicate()
    saved = Checkpoints(folder).read()
    assert saved is not None
    again = start(learner + f"--steps {saved.history.step + 2_000}")
    assert ended(again)[0] == 0
    assert ended(second)[0] == 0
    run = read_run(folder)
    assert run.steps >= saved.history.step + 2_000
    assert run.iterations > saved.history.rows[-1]["iteration"]
    assert [row["step"] for row in saved.history.rows].index(0) == 0


def test_a_killed_replay_comes_back_with_what_it_had(start: Start, tmp_path: Path) -> None:
    """Learner and actor say that they wait, and then go on."""
    port, folder, checkpoints = free_port(), tmp_path / "run", tmp_path / "checkpoints"
    kept = f"--checkpoints {checkpoints} --checkpoint-every 1"
    replay = start_replay(start, port, kept)
    # Patient, for on a busy machine the server takes its time to come back.
    acting = start(f"actor --replay localhost:{port} --patience 300")
    words = f"learner --replay localhost:{port} --patience 300 --run {folder} --steps 15000 "
    training = start(words + SMALL + OFTEN)
    hear(training, EVALUATED)
    wait_for(lambda: any(checkpoints.glob("*/DONE")), "a checkpoint")
    hear(training, EVALUATED)
    replay.kill()
    replay.wait()
    hear(training, "no answer; waiting 300 s")
    replay = start(f"replay --port {port} --min-size 200 --samples-per-insert 8 {kept}")
    hear(replay, r"transitions from ")
    hear(training, "is back after")
    assert ended(training)[0] == 0
    assert ended(acting)[0] == 0
    assert read_run(folder).steps >= 15_000
    replay.terminate()
    assert ended(replay)[0] == 0


def test_a_replay_that_is_not_there_is_named(start: Start, tmp_path: Path) -> None:
    """By actor and learner, in one sentence, with the time-out."""
    port = free_port()
    replay = f"--replay localhost:{port} --patience 1"
    # Both at once: neither needs the other, and each takes seconds to start.
    started = [start(f"actor {replay}"), start(f"learner --env CartPole-v1 --run {tmp_path / 'run'} {replay}")]
    for status, said in map(ended, started):
        assert status == FAILED
        assert (
            said == f"rlway: replay at localhost:{port}: no answer within 1 s; is `rlway train replay` running there?"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_hanging_replay_ends_the_training_which_saves_first(start: Start, tmp_path: Path) -> None:
    """The replay is stopped in the middle of a training. The learner saves, and says what it waited for."""
    port, folder = free_port(), tmp_path / "run"
    replay = start_replay(start, port)
    acting = start(f"actor --replay localhost:{port} --patience 2")
    training = start(f"learner --replay localhost:{port} --patience 2 --run {folder} --steps 1000000 " + SMALL + OFTEN)
    hear(training, EVALUATED)
    replay.send_signal(signal.SIGSTOP)
    for process in (training, acting):
        status, said = ended(process)
        assert status == FAILED
        assert "no answer within 2 s" in said
    saved = Checkpoints(folder).read()
    assert saved is not None
    assert saved.history.step > 200


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(("by", "n"), [(signal.SIGINT, 2), (signal.SIGKILL, 1)])
def test_one_command_starts_actors_and_takes_them_with_it(
    start: Start, by: signal.Signals, n: int, tmp_path: Path
) -> None:
    """Interrupted or killed, it leaves no process."""
    training = start(f"dqn --actors {n} --run {tmp_path / 'run'} --steps 1000000 " + SMALL + OFTEN)
    hear(training, EVALUATED)
    actors = [pid for pid in children(training.pid) if b"actor_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(actors) == n
    os.kill(training.pid, by)
    status, _ = ended(training)
    assert status == (INTERRUPTED if by == signal.SIGINT else -signal.SIGKILL)
    for pid in actors:
        wait_for(lambda pid=pid: is_gone(pid), f"the end of actor {pid}")  # type: ignore[misc]


BREAKING = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv


class Breaking(CartPoleEnv):
    steps = 0

    def step(self, action):
        Breaking.steps += 1
        if Breaking.steps == 1000:
            raise ZeroDivisionError("division by zero")
        return super().step(action)
"""


def test_an_actor_whose_environment_fails_ends_the_training(start: Start, tmp_path: Path) -> None:
    """With the actor's own sentence. The training does not go on with fewer actors."""
    (tmp_path / "breaking.py").write_text(BREAKING)
    words = SMALL.replace("CartPole-v1", f"{tmp_path}/breaking.py:Breaking")
    training = start(f"dqn --actors 2 --run {tmp_path / 'run'} --steps 1000000 --time-limit 500 " + words + OFTEN)
    status, said = ended(training)
    assert status == FAILED
    assert re.search(r"rlway: actor [12] of 2 ended: .*its step\(\) raised ZeroDivisionError: division by zero", said)
