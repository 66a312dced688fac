"""`rlway edge --rate-hz`: what a control loop could rely on, and what it asks of the operating system."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.bundles import linear_policy
from tests.clients.conftest import MISUSED, Fail, Succeed


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linear_policy(tmp_path_factory.mktemp("edge")).path


def test_a_rate_is_kept_and_reported(bundle: Path, tmp_path: Path, succeed: Succeed) -> None:
    """Percentiles of both times, the memory, and a picture."""
    png, cores = tmp_path / "rate.png", os.sched_getaffinity(0)
    words = ["edge", str(bundle), "--file", "model.onnx", "--rate-hz", "200", "--duration-s", "0.2", "--json"]
    try:
        found = json.loads(succeed(*words, "--png", png, "--cpu", str(min(cores))))
    finally:
        os.sched_setaffinity(0, cores)  # the command ran in this process
    assert (found["ticks"], found["rate_hz"]) == (40, 200.0)
    for times in (found["act_us"], found["late_us"]):
        assert times["max"] >= times["p99"] >= times["p50"] > 0
    assert found["memory_mb"] > 10
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cpu", "9999"], "--cpu: expected a core that this process may use"),
        (["--fifo", "1000"], "--fifo: expected a priority from 1 to 99, got 1000"),
        (["--png", "rate.png"], "--png: expected --rate-hz, whose times it draws, got none"),
        (["--rate-hz", "50", "--png", "rate.txt"], "expected a name that ends with .png"),
    ],
)
def test_what_is_not_possible_is_refused_before_the_policy_runs(
    bundle: Path, words: list[str], says: str, fail: Fail
) -> None:
    """Each sentence names its flag."""
    assert says in fail("edge", bundle, "--file", "model.onnx", *words, status=MISUSED)
