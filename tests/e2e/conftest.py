"""One training for all tests here, served while it goes on."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import NamedTuple

import psutil
import pytest

from rlway_client import PolicyClient
from rlway_client.contract.bundle import bundle_versions
from tests.conftest import TRAIN
from tests.ports import wait_for
from tests.servers import get_request, running_server

PATIENCE_S = 200.0  # for TensorFlow to start, to train and to export
SHORT = ["--preset", "cartpole", "--steps", "6000", "--no-films"]


class Line(NamedTuple):
    """The outcome of a training and a server that were started together, over an empty folder."""

    run: Path
    policy: Path  # its published versions
    status_before: int  # of `/readyz`, before the first version
    answered: list[int]  # the version of each answer to a client, in order
    status_after: int  # the exit status of the server


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """`rlway serve models`, `rlway train … --publish models/cartpole`, and a client that asks all the time.

    The training is held still from its first version until that one has answered: it may publish the next within the
    second after which the server looks again.
    """
    place, asked, done = tmp_path_factory.mktemp("line"), Event(), Event()
    models, run = place / "models", place / "run"
    models.mkdir()

    def keep_asking(url: str) -> list[int]:
        versions = []
        with PolicyClient(url, "cartpole", timeout_s=10.0) as policy:
            while not done.wait(0.002):  # as an environment takes its time
                versions.append(policy.ask([0.1, 0.0, -0.05, 0.0]).version)
                asked.set()
        return versions

    train = [str(TRAIN), "train", "dqn", *SHORT, "--run", str(run), "--publish", str(models / "cartpole")]
    with (
        running_server(models, place / "log") as server,
        (place / "training").open("wb") as output,
        subprocess.Popen(train, stdout=output, stderr=output) as training,
        ThreadPoolExecutor(1) as pool,
    ):
        before = server.ask(get_request("/readyz")).status
        try:
            wait_for(
                lambda: (models / "cartpole" / "1").is_dir() or training.poll() is not None,
                "the first version",
                PATIENCE_S,
            )
            assert training.poll() is None, (place / "training").read_text()
            processes = [psutil.Process(training.pid), *psutil.Process(training.pid).children(recursive=True)]
            for process in processes:
                process.suspend()
            wait_for(lambda: server.ask(get_request("/readyz")).status == 200, "the first version to act")
            client = pool.submit(keep_asking, server.url)
            assert asked.wait(PATIENCE_S)
            for process in processes:
                process.resume()
            assert training.wait(PATIENCE_S) == 0, (place / "training").read_text()
            acts = re.compile(rf"cartpole: version {bundle_versions(models / 'cartpole')[0]} acts")
            wait_for(lambda: acts.search(server.log.read_text()) is not None, "the last version to act")
        finally:
            training.kill()
            done.set()
        return Line(run, models / "cartpole", before, client.result(), server.stop())


@pytest.fixture(scope="session")
def trained_run(line: Line) -> Path:
    """The run of that training. No test may change it."""
    return line.run
