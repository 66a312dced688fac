"""A few seconds of `python -m tests.bundle_faults`."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from tests.bundle_faults import Findings, upset
from tests.changing_folder import NAME, ChangingFolder
from tests.servers import Answer

pytestmark = pytest.mark.slow


def test_bundles_of_every_kind_come_and_go_under_load(tmp_path: Path) -> None:
    """No request fails, only sound versions answer, failed loads are counted, and memory is released."""
    report, failures = upset(tmp_path, seconds=5.0, seed=1)
    assert failures == []
    assert report["swaps"] > 0  # how many depends on the load of the machine
    assert len(report["changes"]) > 1


@pytest.mark.parametrize(("status", "version", "mark"), [(500, 1, 1), (200, 2, 1), (200, 1, 2), (200, 2, 3)])
def test_an_answer_that_cannot_be_right_is_found(tmp_path: Path, status: int, version: int, mark: int) -> None:
    """The checker finds another status, a wrong version, and outputs of a broken or unknown version."""
    (tmp_path / "models" / NAME).mkdir(parents=True)
    folder, findings = ChangingFolder(tmp_path / "models", random.Random(0)), Findings()
    assert folder.publish() == 1
    assert folder.break_one() == 2
    for told in ((200, 1, 1), (status, version, mark)):
        body = json.dumps({"version": told[1], "outputs": {"q_values": [told[2] + 1.1, told[2] - 1.0]}})
        findings.check(folder, Answer(told[0], b"", {}, body.encode()), time.monotonic())
    assert len(findings.failures) == 1
