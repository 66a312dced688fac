"""Exporting from Python, as a notebook does. Other tests look at the bundle itself: see `every_format`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gymnasium.envs.classic_control import PendulumEnv

import rlway_export
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import EnvironmentFault, RlwayError, UsageError

pytestmark = pytest.mark.slow


def test_an_environment_may_be_a_class(trained_run: Path, tmp_path: Path) -> None:
    """This one does not fit the policy, and is named as a string would name it; an instance is refused."""
    with pytest.raises(EnvironmentFault, match=r"^gymnasium\.envs\.classic_control\.pendulum:PendulumEnv: "):
        rlway_export.export(trained_run, tmp_path / "models", "cartpole", env=PendulumEnv)
    wrong: Any = PendulumEnv()
    with pytest.raises(UsageError, match="env: expected a name or a class, got PendulumEnv; give its name"):
        rlway_export.export(trained_run, tmp_path / "models", "cartpole", env=wrong)
    assert list(tmp_path.iterdir()) == []


def test_an_export_returns_its_bundle(trained_run: Path, tmp_path: Path) -> None:
    """The same one that lies in the folder, complete."""
    bundle = rlway_export.export(trained_run, tmp_path / "models", "cartpole", formats="onnx")
    assert bundle.path == tmp_path / "models/cartpole/1"
    assert Bundle.open(bundle.path).manifest == bundle.manifest


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"formats": ["onnx", "onxx"]}, "--formats onnx,onxx: expected some of onnx,"),
        ({"formats": []}, "got nothing"),
        ({"policy": "../up"}, "policy name '../up'"),
        ({"time_limit": 9}, "--time-limit: ends the episodes of --evaluate"),
        ({"run": "nowhere"}, "nowhere"),
        ({"checkpoint": 123456789}, "123456789"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    words: dict[str, Any], says: str, trained_run: Path, tmp_path: Path
) -> None:
    """As an exception, before anything is converted or written."""
    said: list[str] = []
    usual: dict[str, Any] = {"run": trained_run, "models": tmp_path / "models", "policy": "p"}
    with pytest.raises(RlwayError) as refused:
        rlway_export.export(**usual | words, log=said.append)
    assert says in str(refused.value)
    assert isinstance(refused.value, UsageError) or "run" in words
    assert said == []
    assert list(tmp_path.iterdir()) == []
