"""The commands in a model card: only those that work with this policy and these files."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from msgspec.structs import replace

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import Manifest
from rlway_export.bundle.model_card import model_card
from rlway_export.bundle.usage import usage
from rlway_export.bundle.writer import write_bundle
from rlway_export.formats.registry import parse_formats
from rlway_export.sources.detect import open_source
from tests.export import stock
from tests.export.bundle.model_card_commands import commands_of, run_commands
from tests.export.play.test_environment import WORLDS

pytestmark = pytest.mark.slow


def test_the_commands_of_the_card_of_a_run_work(bundle: Bundle, tmp_path: Path) -> None:
    """For a DQN on CartPole, exported through the command."""
    assert run_commands([bundle], tmp_path / "log") == [["serve", "play", "edge", "verify"]]


def test_a_saved_model_exported_with_an_environment_can_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a file name that a shell would split, and with only a small TFLite file."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my worlds"
    folder.mkdir()
    (folder / "worlds.py").write_text(WORLDS)
    source = open_source(stock.save(stock.greedy("dqn"), tmp_path / "saved"), "best")
    formats, env = parse_formats("tflite-fp16"), f"{folder}/worlds.py:Line"
    bundle = write_bundle(source, tmp_path / "models", "theirs", formats, lambda _: None, 0, None, env)
    assert run_commands([bundle], tmp_path / "log") == [["serve", "play", "edge", "verify"]]
    edge = commands_of(bundle)[2]
    assert edge[edge.index("--file") + 1] == "model.fp16.tflite"
    assert edge[edge.index("--env") + 1] == "my worlds/worlds.py:Line"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["model.onnx"], ["serve", "play", "verify"]),
        (["model.fp16.onnx"], ["verify"]),
        (["policy.c"], ["verify"]),
        (["model.int8.tflite", "policy.c"], ["serve", "play", "edge", "verify"]),
    ],
)
def test_the_card_has_only_commands_with_a_file_for_them(
    files: list[str], expected: list[str], every_format: Bundle
) -> None:
    """The same choice of file as the server and `rlway edge` make."""
    rows = [row for row in every_format.manifest.parity if row.file in files]
    assert len(rows) == len(files)
    assert verbs(replace(every_format.manifest, parity=rows)) == expected


def test_the_card_says_what_has_to_be_installed(bundle: Bundle) -> None:
    """PyBullet is in one of the two environments only; a user's own environment may import anything."""
    assert "needs" not in usage(bundle.manifest)
    for env, needed in (
        ("MinitaurBulletEnv-v0", "needs PyBullet"),
        ("envs/maze.py:Maze", "needs what its environment imports"),
        ("my.maze:Maze", "needs what its environment imports"),
    ):
        played = [line for line in usage(replace(bundle.manifest, env=env)).splitlines() if "--episodes" in line]
        assert len(played) == 2
        assert all(line.endswith(needed) for line in played)


def test_the_card_says_how_sure_the_return_is(bundle: Bundle) -> None:
    """Equal episodes have no interval, but bound the share of others; an older run has neither interval nor choice."""

    def rows(**training: object) -> list[str]:
        known = bundle.manifest.training | {"random_return": 20.0, "final_episodes": 20, "chosen_among": 27} | training
        card = model_card(replace(bundle.manifest, training=known), bundle.path)
        return card[card.index("| mean") : card.index("| environment steps")].splitlines()

    assert rows(final_return=500.0, final_interval=[500.0, 500.0]) == [
        "| mean return | 500 in each of 20 fresh episodes |",
        "| of uniformly random actions | 20 |",
        "| episodes with another return | at most 13.9% of all, with 95% confidence |",
        "| chosen among | 27 evaluated checkpoints, before the fresh episodes were played |",
    ]
    assert rows(final_return=400.0, final_interval=None, chosen_among=None) == [
        "| mean return | 400 over 20 fresh episodes |",
        "| of uniformly random actions | 20 |",
    ]
    # Published while the training still ran.
    unfinished = {"final_return": None, "final_interval": None, "final_episodes": None, "chosen_among": None}
    assert rows(**unfinished, evaluated_return=400.0) == ["| mean return | 400 in the evaluation during training |"]


def test_the_card_says_how_many_frames_are_one_observation(bundle: Bundle) -> None:
    """A robot with a client of its own has to stack them."""
    stacked = model_card(replace(bundle.manifest, frame_stack=4), bundle.path)
    assert "the environment's last 4 frames (frame_stack 4), joined in its last dimension, the newest last" in stacked
    assert "frames" not in model_card(bundle.manifest, bundle.path)


@pytest.mark.parametrize("env", [None, "", "maze.py:Maze\nrm -r ."])
def test_the_card_names_no_environment_that_cannot_be_typed(env: str | None, bundle: Bundle) -> None:
    """Nor can a name put a shell command of its own into the card."""
    assert verbs(replace(bundle.manifest, env=env)) == ["serve", "edge", "verify"]


def verbs(manifest: Manifest) -> list[str]:
    return [shlex.split(line, comments=True)[1] for line in usage(manifest).splitlines()]
