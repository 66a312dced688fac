"""Policies of TF-Agents alone, exported for both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlway_client.contract.bundle import Bundle
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks import parity
from rlway_export.formats.registry import parse_formats
from rlway_export.sources.tf_agents import SavedModelSource
from tests.export import stock

Exported = Callable[[str], tuple[Any, Bundle]]
GREEDY = {"image", "dict", "sac", "recurrent-dqn"}  # the others draw their actions
FORMATS = {"recurrent-dqn": "unity"}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A policy by the name of its kind, and its bundle; each made once."""
    folder = tmp_path_factory.mktemp("games")
    made: dict[str, tuple[Any, Bundle]] = {}

    def export(name: str) -> tuple[Any, Bundle]:
        if name not in made:
            policy = stock.greedy(name) if name in GREEDY else stock.agent(name).collect_policy
            source = SavedModelSource.open(stock.save(policy, folder / name), "best")
            formats = parse_formats(FORMATS.get(name, "unity,godot"))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(parity, "ROWS", 256)  # own runs and runs of every format are compared over all rows
                made[name] = policy, write_bundle(source, folder / "models", name, formats, lambda _: None)
        return made[name]

    return export
