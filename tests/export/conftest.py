"""Exports that many tests look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlway_client.cli.main import main
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import RlwayError
from rlway_export.common.quiet import quiet_conversion
from tests.conftest import Finished, export_run, filmed_run, made_once

with quiet_conversion():
    import tensorflow as tf
    from tf_agents.train.triggers import (
        PolicySavedModelTrigger,
    )  # imported here, so that no test finds its notices on stderr

    import rlway_export
    from rlway_export.checks import latency, measure
    from rlway_export.formats.registry import FORMATS
    from tests.export import stock

MOST = 300  # characters of a sentence, without the folder of the tests
Rlway = Callable[..., Finished]


@contextmanager
def measured_over(rows: int, longest_s: float) -> Iterator[None]:
    """Exports measure what a batch changes over so many rows, and time each file for so long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "ROWS", rows)
        patch.setattr(latency, "LONGEST_S", longest_s)
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_measurements() -> Iterator[None]:
    """That would be half of the time of small exports. `every_format` is measured as users' exports are."""
    with measured_over(64, 0.005):
        yield


@pytest.fixture(autouse=True)
def _readable_sentences(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every error that a test provokes is one readable sentence."""
    raised: list[RlwayError] = []
    construct = RlwayError.__init__

    def keep(error: RlwayError, *arguments: Any) -> None:
        construct(error, *arguments)
        raised.append(error)

    monkeypatch.setattr(RlwayError, "__init__", keep)
    yield
    place = str(tmp_path_factory.getbasetemp())
    sentences = [str(error).replace(place, "") for error in raised]
    assert [sentence for sentence in sentences if len(sentence) > MOST or "\n" in sentence] == []


@pytest.fixture
def rlway(capfd: pytest.CaptureFixture[str]) -> Rlway:
    """Runs `rlway …` in this process. A process of its own would import TensorFlow for seconds."""

    def run(*words: Any) -> Finished:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Finished(ended.value.code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the tests of training look at: it is much better than random, far from perfect."""
    return filmed_run(tmp_path_factory) / "run"


@pytest.fixture(scope="session")
def models(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 1 of `cartpole`, exported through the command. Not to be changed by a test."""

    def export(folder: Path) -> None:
        export_run(trained_run, folder, "cartpole")

    return made_once(tmp_path_factory, "models", export)


@pytest.fixture(scope="session")
def every_format(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same run in all formats, exported from Python. Not to be changed by a test."""

    def export(folder: Path) -> None:
        with measured_over(448, 0.05):
            rlway_export.export(trained_run, folder, "cartpole", formats=FORMATS)

    return Bundle.open(made_once(tmp_path_factory, "every-format", export) / "cartpole/1")


@pytest.fixture(scope="session")
def bundle(models: Path) -> Bundle:
    return Bundle.open(models / "cartpole/1")


@pytest.fixture(scope="session")
def trigger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of PolicySavedModelTrigger with checkpoints 10 and 20. Not to be changed by a test."""

    def save(shared: Path) -> None:
        agent, step = stock.agent("dqn"), tf.Variable(0, dtype=tf.int64)
        pull = PolicySavedModelTrigger(str(shared / "policies"), agent, step, interval=1)
        for number in (10, 20):
            step.assign(number)
            for variable in agent.policy.variables():
                variable.assign_add(tf.ones_like(variable))
            pull(number, force_trigger=True)

    return made_once(tmp_path_factory, "trigger", save) / "policies"
