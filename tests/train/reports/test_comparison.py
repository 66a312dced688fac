"""`rlway train compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import msgspec
import pytest

from rlway_client.cli.main import main
from rlway_client.contract.run import TrainingRun, read_run
from rlway_train.reports.comparison import read_groups
from tests.train.conftest import Finished

pytestmark = pytest.mark.slow


def lay_out(folder: Path, run: TrainingRun, evaluations: Sequence[tuple[int, float]], **changes: Any) -> Path:
    """A run folder with these evaluations and a real run.json, changed."""
    folder.mkdir()
    settings = run.hyperparameters | changes.pop("settings", {})
    changed = msgspec.structs.replace(run, hyperparameters=settings, **changes)
    (folder / "run.json").write_bytes(msgspec.json.encode(changed))
    rows = "\n".join(f"{step},{value}" for step, value in evaluations)
    (folder / "evaluations.csv").write_text(f"step,mean_return\n{rows}\n")
    return folder


@pytest.fixture
def runs(tmp_path: Path, finished: Finished) -> list[Path]:
    """Two seeds of one setting, one of another."""
    run = finished.run
    return [
        lay_out(tmp_path / "a0", run, [(0, 0.0), (100, 10.0), (200, 20.0)], seed=0, final_return=20.0),
        lay_out(tmp_path / "a1", run, [(50, 20.0), (150, 40.0)], seed=1, final_return=40.0),
        lay_out(tmp_path / "b0", run, [(100, 5.0)], seed=0, final_return=5.0, settings={"gamma": 0.5}),
    ]


def test_runs_that_differ_in_their_seeds_alone_are_one_group(runs: list[Path], finished: Finished) -> None:
    """A label names only the settings in which the groups differ."""
    one, other = read_groups(runs)
    assert [curve.seed for curve in one.curves] == [0, 1]
    assert [curve.seed for curve in other.curves] == [0]
    assert one.label.endswith(f"gamma={finished.run.hyperparameters['gamma']}")
    assert other.label.endswith("gamma=0.5")


def test_a_run_from_before_there_was_a_setting_is_grouped_by_its_usual_value(
    tmp_path: Path, finished: Finished
) -> None:
    """A new flag does not separate older runs from present ones."""
    new = lay_out(tmp_path / "new", finished.run, [(100, 1.0)], seed=0)
    old = lay_out(tmp_path / "old", finished.run, [(100, 1.0)], seed=1)
    facts = json.loads((old / "run.json").read_text())
    del facts["hyperparameters"]["log_every"]
    (old / "run.json").write_text(json.dumps(facts))
    (group,) = read_groups([new, old])
    assert [curve.seed for curve in group.curves] == [0, 1]


def test_the_best_evaluation_is_not_that_of_the_untrained_policy(tmp_path: Path, finished: Finished) -> None:
    """The curve begins at step 0 with the untrained policy's return."""
    (group,) = read_groups([lay_out(tmp_path / "run", finished.run, [(0, 99.0), (100, 10.0), (200, 20.0)])])
    assert [curve.best for curve in group.curves] == [20.0]


def test_the_band_is_where_all_seeds_have_been_evaluated(runs: list[Path]) -> None:
    """That is from 50 to 150 steps. There one run rises from 5 to 15, the other from 20 to 40."""
    band = read_groups(runs)[0].band()
    assert (band.steps[0], band.steps[-1]) == (50, 150)
    assert (band.mean[0], band.mean[-1]) == pytest.approx((12.5, 27.5))
    assert (band.low[0], band.high[0]) == pytest.approx((5.0, 20.0))


def test_the_command_prints_the_groups_and_draws_them(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    with pytest.raises(SystemExit) as ended:
        main(["train", "compare", *map(str, runs), "--picture", str(picture), "--json"])
    assert ended.value.code == 0
    one, other = json.loads(capsys.readouterr().out)["groups"]
    assert (one["final_mean"], one["final_median"], one["final_lowest"]) == (30.0, 30.0, 20.0)
    assert one["best_evaluation"] == 40.0
    assert other["final_std"] is None
    assert imageio.imread(picture).std() > 1


def test_a_real_run_can_be_compared(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `rlway train` leaves it."""
    with pytest.raises(SystemExit) as ended:
        main(["train", "compare", str(finished.folder), "--picture", str(tmp_path / "one.png")])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "CartPole-v1" in line)
    assert float(row.split()[-5]) == pytest.approx(read_run(finished.folder).final_return, rel=0.005)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: (folder / "run.json").unlink(), "nothing to compare yet"),
        (lambda folder: (folder / "evaluations.csv").unlink(), "cannot be read as evaluations"),
        (lambda folder: (folder / "evaluations.csv").write_text("step,mean_return\nx,y\n"), "cannot be read as"),
        (lambda folder: (folder / "evaluations.csv").write_text("step,mean_return\n"), "holds no evaluation"),
    ],
    ids=["unfinished", "missing", "damaged", "empty"],
)
def test_a_folder_without_evaluations_is_named(
    runs: list[Path], break_it: Any, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(runs[1])
    with pytest.raises(SystemExit) as ended:
        main(["train", "compare", *map(str, runs)])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert says in error
    assert str(runs[1]) in error
