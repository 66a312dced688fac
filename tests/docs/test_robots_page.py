"""docs/robots.md: its Python runs as it stands, its meaning fits a policy, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rlway_client.contract.meaning import Meaning, check_meaning
from rlway_client.contract.specs import TensorSpec
from tests.conftest import ROOT
from tests.ports import free_port
from tests.weighing import weighing_policy

PAGE = (ROOT / "docs/robots.md").read_text(encoding="utf-8")
SPECS = [TensorSpec("observation", (4,), "float32")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


class Robot:
    """What the page calls `robot`."""

    def __init__(self) -> None:
        self.driven: list[Any] = []

    def read_sensors(self) -> Any:
        return np.ones(4, np.float32)

    def drive(self, action: Any) -> None:
        self.driven.append(action)


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One block after the other, without a server, and with a shorter control loop."""
    weighing_policy(tmp_path / "models", SPECS, "cartpole")
    monkeypatch.chdir(tmp_path)
    robot = Robot()
    names: dict[str, Any] = {"observation": np.ones(4, np.float32), "robot": robot}
    for block in blocks("python"):
        code = block.replace("http://10.0.0.5:8080", f"http://127.0.0.1:{free_port()}").replace(
            "duration_s=60", "duration_s=0.2"
        )
        exec(compile(code, "docs/robots.md", "exec"), names)
    assert "0 local" in capsys.readouterr().out
    assert set(robot.driven) == {0}


def test_its_meaning_fits_a_policy() -> None:
    """Of two joints and two actions."""
    (block,) = blocks("json")
    action = TensorSpec("action", (), "int64", 0, 1)
    check_meaning(
        msgspec.json.decode(block, type=Meaning), [TensorSpec("observation", (2,), "float32"), action], [action]
    )


def test_its_links_lead_somewhere() -> None:
    """To files, and to headings of this page."""
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", PAGE, re.M)
    }
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", PAGE):
        assert target == "" or (ROOT / "docs" / target).exists(), target
    for anchor in re.findall(r"\]\(#([^)]*)\)", PAGE):
        assert anchor in headings, anchor
