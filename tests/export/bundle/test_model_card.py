"""What a model card tells its reader to type: only what this policy and these files can do."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from msgspec.structs import replace

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import Manifest
from rlway_export.bundle.usage import usage
from rlway_export.bundle.writer import write_bundle
from rlway_export.formats.registry import parse_formats
from rlway_export.sources.detect import open_source
from tests.export import stock
from tests.export.bundle.card_commands import commands_of, run_commands
from tests.export.play.test_environment import WORLDS


def test_what_the_card_of_a_run_tells_to_type_does_what_it_says(bundle: Bundle, tmp_path: Path) -> None:
    """Of a DQN on CartPole, exported through the command."""
    assert run_commands([bundle], tmp_path / "log") == [["serve", "play", "edge", "verify"]]


def test_a_policy_of_no_run_can_be_played_where_it_was_exported_with_its_environment(tmp_path: Path) -> None:
    """Also from a file whose name a shell would take apart, and with no file but a small TFLite one."""
    folder = tmp_path / "my worlds"
    folder.mkdir()
    (folder / "worlds.py").write_text(WORLDS)
    source = open_source(stock.save(stock.greedy("dqn"), tmp_path / "saved"), "best")
    targets, env = parse_formats("tflite-fp16"), f"{folder}/worlds.py:Line"
    bundle = write_bundle(source, tmp_path / "models", "theirs", targets, lambda _: None, 0, None, env)
    assert run_commands([bundle], tmp_path / "log") == [["serve", "play", "edge", "verify"]]
    edge = commands_of(bundle)[2]
    assert edge[edge.index("--file") + 1] == "model.fp16.tflite"
    assert edge[edge.index("--env") + 1] == env


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["model.onnx"], ["serve", "play", "verify"]),
        (["model.fp16.onnx"], ["verify"]),
        (["policy.c"], ["verify"]),
        (["model.int8.tflite", "policy.c"], ["serve", "play", "edge", "verify"]),
    ],
)
def test_a_command_is_told_only_where_there_is_a_file_for_it(
    files: list[str], expected: list[str], every_format: Bundle
) -> None:
    """As the server and `rlway edge` themselves look for one."""
    rows = [row for row in every_format.manifest.parity if row.file in files]
    assert len(rows) == len(files)
    assert verbs(replace(every_format.manifest, parity=rows)) == expected


def test_what_has_to_be_installed_is_told(bundle: Bundle) -> None:
    """PyBullet is in one of the two environments only, and so may be what somebody else imports."""
    assert "needs" not in usage(bundle.manifest)
    for env, needed in (
        ("MinitaurBulletEnv-v0", "needs PyBullet"),
        ("envs/maze.py:Maze", "needs what its environment imports"),
        ("my.maze:Maze", "needs what its environment imports"),
    ):
        played = [line for line in usage(replace(bundle.manifest, env=env)).splitlines() if "--episodes" in line]
        assert len(played) == 2
        assert all(line.endswith(needed) for line in played)


@pytest.mark.parametrize("env", [None, "", "maze.py:Maze\nrm -r ."])
def test_an_environment_that_cannot_be_typed_is_none(env: str | None, bundle: Bundle) -> None:
    """Neither is there a line of the shell that somebody else has written."""
    assert verbs(replace(bundle.manifest, env=env)) == ["serve", "edge", "verify"]


def verbs(manifest: Manifest) -> list[str]:
    return [shlex.split(line, comments=True)[1] for line in usage(manifest).splitlines()]
