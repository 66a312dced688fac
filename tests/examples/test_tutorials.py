"""The scripts of examples/tutorials/, run as people run them, with arguments that make them short."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rlway_client import Bundle, PolicyClient
from tests.conftest import ROOT, made_once
from tests.servers import running_server

TRAINING_PYTHON = ROOT / ".venv-train/bin/python"
PATIENCE_S = 800.0  # for one script, which takes ten seconds on a machine that does nothing else
pytestmark = pytest.mark.slow


class Tutorial(NamedTuple):
    """`words` make the script short; `pictures` is what it draws and films; `says` is what its own steps print."""

    words: str
    pictures: tuple[str, ...]
    says: str
    observations: Any


_normal = np.random.default_rng(0).standard_normal
TUTORIALS = {
    "dqn_cartpole": Tutorial(
        "--iterations 200 --eval-every 100 --episodes 2 --frames 10",
        ("returns.png", "trained.mp4", "random.mp4"),
        r"random actions: average return \d+\.\d(.|\n)*"
        r"iteration 200: loss \d+\.\d+, NumberOfEpisodes \d+, EnvironmentSteps 200\niteration 200: average return \d+",
        _normal((16, 4)),
    ),
    "sac_minitaur": Tutorial(
        "--iterations 20 --initial-steps 300 --episodes 1 --eval-every 20 --save-every 15 --episode-steps 30 "
        "--frames 3 --play 1",
        ("returns.png", "trained.mp4"),
        r"iteration 20: {'AverageReturn': -?\d+\.\d+, 'AverageEpisodeLength': 30\.0}(.|\n)*taking the latest, 20\.",
        _normal((16, 28)),
    ),
    "card_game": Tutorial(
        "--iterations 20 --play 20",
        (),
        r"three cards, then stop: return -\d+\nPendulum-v1 with 5 actions: .*maximum=4.*\n"
        r"and with a time limit of 20: return -\d+\nrandom actions: \d\.\d steps, return -\d+\.\d over 5 episodes\n",
        np.arange(31)[:, None],
    ),
    "book_cartpole": Tutorial(
        "--episodes 10 --frames 10 --play 2",
        ("episodes.png", "greedy.mp4"),
        r"episode 10: total reward \d+, mean loss \d\.\d+\n",
        _normal((16, 4)),
    ),
    "book_gridworld": Tutorial(
        "--episodes 5 --time-limit 200 --play 1",
        ("loss.png", "q_values.png"),
        r"episode 5: \d+ steps, mean loss \d\.\d+\n",
        np.eye(12),
    ),
}


@pytest.fixture(scope="module")
def tutorials(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a script's run, with what it printed in `printed`. Not to be changed by a test."""

    def ran(name: str) -> Path:
        def run(folder: Path) -> None:
            script = ROOT / f"examples/tutorials/{name}.py"
            command = [str(TRAINING_PYTHON), str(script), "--out", str(folder), *TUTORIALS[name].words.split()]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
            assert done.returncode == 0, done.stderr
            (folder / "printed").write_text(done.stdout)

        return made_once(tmp_path_factory, name, run)

    return ran


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_ends_with_a_policy_that_acts_over_http_as_in_process(tutorials: Any, name: str) -> None:
    """Its own steps come first; then it draws, exports, serves, and plays the same episodes twice."""
    folder = tutorials(name)
    printed = (folder / "printed").read_text()
    assert re.search(TUTORIALS[name].says, printed), printed
    local = re.search(r"in process: return (-?\d+\.\d\d) over (\d+) episodes\n", printed)
    remote = re.search(r"over HTTP:  return (\S+) over (\d+) episodes, (\d+) of (\d+) actions as TF-Agents'", printed)
    assert local is not None
    assert remote is not None
    assert float(remote[1]) == pytest.approx(float(local[1]), abs=0.011)  # they are rounded
    assert remote[3] == remote[4] != "0"
    for picture in TUTORIALS[name].pictures:
        begins = {".png": b"\x89PNG", ".mp4": b"\x00\x00\x00\x20ftyp"}[Path(picture).suffix]
        assert (folder / picture).read_bytes().startswith(begins)
    bundle = Bundle.open(folder / "models" / policy_of(name) / "1")
    assert [compared.file for compared in bundle.manifest.parity] == ["model.onnx", "model.tflite"]


def test_servers_of_the_tutorials_bundles_act_as_tf_agents_does(tutorials: Any, tmp_path: Path) -> None:
    """TF-Agents loads what its PolicySaver and its trigger wrote, and acts on observations that no script has seen."""
    asked = {}
    for name, tutorial in TUTORIALS.items():
        folder = tutorials(name)
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / policy_of(name)).symlink_to(folder / "models" / policy_of(name))
        trigger = folder / "policies"
        asked[name] = {
            "saved": str(trigger / "greedy_policy" if trigger.exists() else folder / "policy"),
            "checkpoint": str(max(trigger.glob("checkpoints/*"))) if trigger.exists() else None,
            "observations": tutorial.observations.tolist(),
        }
    command = [TRAINING_PYTHON, Path(__file__).with_name("saved_actions.py")]
    oracle = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=PATIENCE_S)
    assert oracle.returncode == 0, oracle.stderr
    expected = json.loads(oracle.stdout.splitlines()[-1])
    with running_server(tmp_path / "models", tmp_path / "log") as server:
        for name, tutorial in TUTORIALS.items():
            with PolicyClient(server.url, policy_of(name)) as policy:
                acted = [policy.act(seen) for seen in tutorial.observations]
            assert np.allclose(acted, expected[name], rtol=0, atol=1e-5), name
    assert len({str(row) for row in expected["sac_minitaur"]}) > 1  # it depends on the observation


def policy_of(name: str) -> str:
    return name.replace("_", "-")
