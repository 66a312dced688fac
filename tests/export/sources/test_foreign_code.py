"""`rlway export` and `rlway verify` of a policy whose environment is code: it runs only if the user names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from rlway_client.cli.main import main
from rlway_client.contract.manifest import decode_manifest
from rlway_client.envs.names import portable

pytestmark = pytest.mark.slow

FAILED, MISUSED = 1, 2
TRAP = """
open({mark!r}, "w")
from gymnasium.envs.classic_control import CartPoleEnv

class Trap(CartPoleEnv):
    def step(self, action):
        raise ArithmeticError("broken")
"""


class Trapped(NamedTuple):
    """A run that was trained in a file, the environment's name, and the mark that the file leaves when it runs."""

    run: Path
    env: str
    mark: Path


@pytest.fixture
def trapped(trained_run: Path, tmp_path: Path) -> Trapped:
    """It recorded no observations, so an export would have to play its environment."""
    mark, file = tmp_path / "it ran", tmp_path / "trap.py"
    file.write_text(TRAP.format(mark=str(mark)))
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (run / "observations.npz").unlink()
    for name in ("run.json", "job.json"):
        facts = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(facts | {"env": f"{file}:Trap"}))
    return Trapped(run, f"{file}:Trap", mark)


def rlway(*words: object) -> object:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


def test_export_and_verify_run_no_code_because_a_run_or_a_bundle_names_it(
    trapped: Trapped, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without its environment a run is compared over sampled observations, and says so; to play it, --env is needed."""
    words = ("export", trapped.run, "--models", tmp_path / "models", "--policy", "trapped", "--formats", "onnx")
    assert rlway(*words, "--evaluate", 1) == MISUSED
    assert f"say so with --env {portable(trapped.env)}" in capfd.readouterr().err
    assert not (tmp_path / "models").exists()
    assert rlway(*words) == 0
    assert "no observations could be collected: the policy was trained in an environment that is code" in (
        " ".join(capfd.readouterr().err.split())
    )
    bundle = tmp_path / "models/trapped/1"
    assert decode_manifest((bundle / "manifest.json").read_bytes(), "here").env == portable(trapped.env)
    assert rlway("verify", bundle) == 0
    assert not trapped.mark.exists()


def test_an_environment_that_is_code_runs_when_the_user_names_it(
    trapped: Trapped, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """If it fails, the sentence names it, and nothing is published."""
    words = ("export", trapped.run, "--models", tmp_path / "models", "--policy", "trapped", "--formats", "onnx")
    assert rlway(*words, "--evaluate", 1, "--env", trapped.env) == FAILED
    assert f"rlway: {trapped.env}: its step() raised ArithmeticError: broken at step 1" in capfd.readouterr().err
    assert trapped.mark.exists()
    assert not (tmp_path / "models/trapped/1").exists()
