"""`rlway doctor`: one screen, an exit status, and the same facts as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bundles import linear_policy
from tests.clients.conftest import FAILED, MISUSED, Fail, Rlway, Succeed
from tests.ports import free_port

SCREEN = 24  # lines


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_where_nothing_is_wrong_all_fits_on_a_screen(at: Path, succeed: Succeed) -> None:
    """With a dozen policies."""
    for number in range(12):
        linear_policy(at / "models", name=f"policy{number}")
    shown = succeed("doctor", "--port", str(free_port()))
    assert shown.endswith("nothing is wrong\n")
    assert len(shown.splitlines()) <= SCREEN
    assert "and 7 more policies" in shown
    for word in ("client", "Python", "numpy", "onnxruntime", "processor", "open files", "free", "12 policies"):
        assert word in shown


def test_what_is_wrong_is_shown_with_what_to_do(at: Path, rlway: Rlway) -> None:
    """Also beyond the policies that are listed; the exit status is 1, and the JSON has the same findings."""
    for number in range(8):
        linear_policy(at / "models", name=f"policy{number}")
    (at / "models/policy7/1/model.onnx").unlink()
    words = ("doctor", at / "models", "--port", str(free_port()))
    done = rlway(*words)
    assert done.status == FAILED
    assert done.stderr == ""
    assert "policy7/1" in done.stdout
    assert "→ export the policy again" in done.stdout
    told = rlway(*words, "--json")
    assert told.status == FAILED
    report = json.loads(told.stdout)
    assert report["ok"] is False
    wrong = [one for one in report["findings"] if not one["ok"]]
    assert [one["subject"] for one in wrong] == ["policy7", "policy7/1"]
    for one in report["findings"]:
        assert set(one) == {"area", "subject", "ok", "state", "remedy", "facts"}
        assert one["state"] in done.stdout or one["area"] == "machine" or one["ok"]


def test_a_port_that_is_none_is_misuse(fail: Fail) -> None:
    assert "--port: expected 1 to 65535, got 70000" in fail("doctor", "--port", "70000", status=MISUSED)
