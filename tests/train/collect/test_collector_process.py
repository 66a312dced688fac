"""The collector in a process of its own: its rows, and how it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from rlway_client.cli.main import main
from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.run import read_run
from rlway_train.collect.adders.n_step import NStepAdder
from rlway_train.collect.collector import LocalCollector
from rlway_train.collect.collector_process import CollectorProcess, WorkerLost
from rlway_train.collect.transition import TransitionColumns
from rlway_train.envs.domain import find_domain
from rlway_train.policies.numpy import GaussianPolicy, UniformPolicy
from tests.conftest import ROOT
from tests.policies import Always

pytestmark = pytest.mark.slow

COUNTING = "tests.train.conftest:Counting"
FILE = """
import multiprocessing, os, signal, sys
import gymnasium, numpy as np
from gymnasium.spaces import Box, Discrete

class Witness(gymnasium.Env):
    # Observes its process: its id, whether it ignores SIGINT, has TensorFlow, and keeps to one thread.
    observation_space, action_space = Box(-np.inf, np.inf, (4,), np.float32), Discrete(2)
    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self.observe(), {}
    def step(self, action):
        self.t += 1
        self.happen()
        return self.observe(), 1.0, False, self.t == 50, {}
    def observe(self):
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        single = os.environ.get("OPENBLAS_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS") == "1"
        return np.array([os.getpid(), ignored, "tensorflow" in sys.modules, single], np.float32)
    def happen(self):
        pass

class Crashes(Witness):
    def happen(self):
        if self.t == 5 and multiprocessing.parent_process():
            os.kill(os.getpid(), signal.SIGSEGV)

class Fails(Witness):
    def happen(self):
        if self.t == 5:
            raise ZeroDivisionError("division by zero")

class Waits(Witness):
    def happen(self):
        if self.t == 5:
            open(os.environ["RLWAY_TEST_GATE"]).read()

class Outside(Witness):
    def __init__(self):
        if "tests.train.collect.test_collector_process" not in sys.modules:
            raise OSError("not here")
"""


@contextmanager
def worker(env: str, envs: int = 1, seed: int = 0, continuous: bool = False) -> Iterator[CollectorProcess]:
    with closing(CollectorProcess(find_domain(env, continuous=continuous), envs, seed)) as process:
        yield process


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "witnesses.py"
    path.write_text(FILE)
    return path


def pid() -> int:
    """The process id of the only worker."""
    (process,) = multiprocessing.active_children()
    assert process.pid is not None
    return process.pid


def gaussian(rng: np.random.Generator) -> GaussianPolicy:
    """Another policy in each block, with the same generator, as from a learner."""
    kernel = rng.standard_normal((3, 2)).astype(np.float32)
    return GaussianPolicy([kernel, np.zeros(2, np.float32)], np.zeros(1, np.float32), np.ones(1, np.float32), rng)


def test_a_worker_collects_what_a_collector_would() -> None:
    """The same rows and returns to the last bit, for policies with one generator, whose state comes back."""
    domain = find_domain("Pendulum-v1", time_limit=20, continuous=True)
    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    low, high = -np.ones(1, np.float32), np.ones(1, np.float32)
    two_steps = (2, 0.9, 3, TransitionColumns(domain.obs_dim, 1))
    here = LocalCollector(domain.make_many(3), 7, NStepAdder(*two_steps))
    with closing(CollectorProcess(domain, 3, 7, NStepAdder(*two_steps))) as there:
        for n in (50, 7, 64):
            for make in (gaussian, lambda rng: UniformPolicy(low, high, rng)):
                np.testing.assert_array_equal(there.collect(make(theirs), n), here.collect(make(ours), n))
                assert ours.random() == theirs.random()
        assert there.returns == here.returns
        assert len(there.returns) > 10


def test_collecting_ahead_is_one_block_behind_and_loses_nothing() -> None:
    """The first call waits for its block. Each later one returns the block of the policy before."""
    with worker(COUNTING) as process:
        blocks = [process.collect(Always(0), 5)]
        blocks += [process.collect_ahead(Always(action), 4) for action in (1, 0, 1, 0)]
        blocks += [process.collect(Always(1), 3), process.collect_ahead(Always(0), 4)]
    actions = [set(block[:, 2]) for block in blocks]
    assert actions[:5] == [{0.0}, {1.0}, {1.0}, {0.0}, {1.0}]
    assert (actions[5], actions[6]) == ({1.0}, {0.0})  # the block begun first is kept for the next call ahead
    rows = np.concatenate([*blocks[:5], blocks[6], blocks[5]])
    expected = [(step // 3, step % 3) for step in range(len(rows))]
    np.testing.assert_array_equal(rows[:, :2], expected)
    assert set(process.returns) == {9.0}


def test_the_worker_steps_while_the_learner_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second block ends only after something that happens here once the first has been returned."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    monkeypatch.setenv("RLWAY_TEST_GATE", str(gate))
    with worker(f"{file}:Waits") as process:
        assert len(process.collect_ahead(Always(0), 4)) == 4
        gate.write_text("open")
        assert len(process.collect_ahead(Always(0), 4)) == 4


def test_a_worker_is_another_process_without_tensorflow_on_one_thread(file: Path) -> None:
    """And it ignores Ctrl-C from its start."""
    with worker(f"{file}:Witness") as process:
        os.kill(pid(), signal.SIGINT)
        rows = process.collect(Always(0), 4)
        os.kill(pid(), signal.SIGINT)
        assert len(process.collect(Always(0), 4)) == 4
        np.testing.assert_array_equal(rows[0, :4], [pid(), 1, 0, 1])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("method", ["collect", "collect_ahead"])
def test_an_environments_fault_arrives_as_the_same_exception(file: Path, method: str) -> None:
    """The sentence is the same as for an environment in this process, and nothing hangs afterwards."""
    with worker(f"{file}:Fails") as process:
        assert len(getattr(process, method)(Always(0), 4)) == 4
        with pytest.raises(EnvironmentFault, match=r":Fails: its step\(\) raised ZeroDivisionError: .* at step 5"):
            process.collect(Always(0), 4)
        with pytest.raises(WorkerLost, match="exit status 0"):
            process.collect(Always(0), 4)


def test_a_crash_within_the_environment_is_reported_in_a_sentence(file: Path) -> None:
    """The trainer does not wait for rows that never come."""
    with worker(f"{file}:Crashes") as process, pytest.raises(WorkerLost, match=r":Crashes: .*signal 11, Segmentation"):
        process.collect(Always(0), 8)


def test_a_killed_worker_is_reported_in_a_sentence(file: Path) -> None:
    """Between two blocks, and before the first."""
    with worker(f"{file}:Witness") as process:
        process.collect(Always(0), 4)
        os.kill(pid(), signal.SIGKILL)
        with pytest.raises(WorkerLost, match=r"has ended \(signal 9, Killed\)"):
            process.collect_ahead(Always(0), 4)
    with worker(f"{file}:Witness") as process:
        os.kill(pid(), signal.SIGKILL)
        with pytest.raises(WorkerLost, match="signal 9"):
            process.collect(Always(0), 4)


def test_an_environment_that_the_worker_cannot_make_is_refused(file: Path) -> None:
    """An environment may work in one process and not in another. The worker's refusal counts."""
    with worker(f"{file}:Outside") as process, pytest.raises(EnvironmentFault, match="could not be made: OSError: not"):
        process.collect(Always(0), 4)


@pytest.mark.parametrize("kind", ["Witness", "Waits", "Fails"])
def test_closing_ends_the_worker_in_every_state(
    kind: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle, in the middle of a block that never ends, and after its environment has failed."""
    os.mkfifo(tmp_path / "gate")
    monkeypatch.setenv("RLWAY_TEST_GATE", str(tmp_path / "gate"))
    with worker(f"{file}:{kind}") as process:
        process.collect_ahead(Always(0), 4)
        assert multiprocessing.active_children()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_does_not_outlive_its_trainer(file: Path, busy: bool) -> None:
    """Even if the trainer is killed, since the pipe ends. stdout ends once every process that has it is gone."""
    code = f"""
import sys
from rlway_train.collect.transition import TransitionColumns
from rlway_train.envs.domain import find_domain
from rlway_train.collect.collector_process import CollectorProcess
from tests.policies import Always
if __name__ == "__main__":
    process = CollectorProcess(find_domain({f"{file}:Witness"!r}), 1, 0)
    process.collect{"_ahead" if busy else ""}(Always(0), 2_000)
    print("collected", flush=True)
    sys.stdin.read()
"""
    trainer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "collected\n"
    trainer.kill()
    rest, _ = trainer.communicate(timeout=60)
    assert rest == ""


def train(folder: Path, env: str) -> object:
    """The exit status of a short training that collects in a worker."""
    arguments = f"train dqn --env {env} --run {folder} --collect-process --envs 2 --no-xla --initial-steps 4 --steps 64"
    arguments += " --block-steps 4 --block-iterations 1 --batch-size 2 --eval-every 32 --eval-episodes 2"
    arguments += " --confirm-episodes 0 --final-episodes 2"
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    return ended.value.code


def test_a_training_with_a_worker_writes_a_whole_run(tmp_path: Path) -> None:
    """It has as many steps and updates as any other, and the worker ends with it."""
    assert train(tmp_path / "run", COUNTING) == 0
    run = read_run(tmp_path / "run")
    assert (run.steps, run.iterations, run.final_return) == (64, 15, 9.0)
    assert run.hyperparameters["collect_process"] is True
    assert multiprocessing.active_children() == []


def test_a_lost_worker_ends_a_training_in_one_sentence(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has been learned is kept, and the training can be resumed."""
    assert train(tmp_path / "run", f"{file}:Crashes") == 1
    printed = capsys.readouterr()
    assert ":Crashes: the process that collects in it has ended (signal 11, Segmentation fault)" in printed.err
    assert "Traceback" not in printed.err
    assert multiprocessing.active_children() == []
