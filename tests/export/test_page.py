"""The table of sources in docs/export.md: what each cell says is what an export does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import rlway_export
from rlway_client.contract.bundle import bundle_versions
from rlway_client.contract.errors import UsageError
from rlway_client.contract.manifest import Manifest
from rlway_export.checks import parity, sampling
from rlway_export.formats.registry import FORMATS
from rlway_export.sources.agent.code import AgentCode
from rlway_export.sources.tensor_options import TensorOptions
from rlway_export.watch.kinds import Told
from rlway_export.watch.watch import Publication, Watch
from tests.conftest import ROOT
from tests.export.conftest import Rlway
from tests.export.formats.test_own_runs import RUNS, make_run
from tests.export.kinds import KINDS, Case, Kind

pytestmark = pytest.mark.slow

RUN, TRIGGER = "a run of `rlway train`", "a trigger's folder"
YES, NONE, NEEDS_ENV = "✓", "—", "with `--env`"
WATCHED = {
    "each better checkpoint": 2,
    "each checkpoint": 1,
    "each new file": 1,
}  # the least versions of the sources here
ROLES = {"observation", "action", "meaning", "state"}  # the options that say what tensors are
# int8 is coarse: whether a file of it acts alike depends on the policy. Games take no policy of one row with a state.
EXACT = ",".join(name for name in FORMATS if "int8" not in name and name not in ("unity", "godot"))
WORLD = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete


class Field(gymnasium.Env):
    observation_space = Box(-2, 2, (4,), np.float32)
    action_space = Box(-np.inf, np.inf, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self._steps += 1
        return self.observation_space.sample(), 1.0, self._steps == 5, False, {}


class Hand(Field):
    action_space = Dict({"grip": Discrete(3), "push": Box(-1, 1, (2,), np.float32)})
"""


def _rows() -> dict[str, dict[str, str]]:
    """The table of the page: the cells of each row by the heads of the columns."""
    lines = (ROOT / "docs/export.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| source |"))
    end = next(i for i, line in enumerate(lines) if i > start and not line.startswith("|"))
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end])
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


TABLE = _rows()


class Sources:
    """The sources of every kind in a folder, each made and exported once."""

    def __init__(self, folder: Path, kinds: Mapping[str, Kind]) -> None:
        self.folder, self.kinds = folder, kinds
        self._paths: dict[tuple[str, str], Path] = {}
        self._full: dict[str, Manifest] = {}

    def path(self, kind: str, size: str) -> Path:
        """That of the kind's plain or full policy."""
        if (kind, size) not in self._paths:
            case: Case = getattr(self.kinds[kind], size)
            self._paths[kind, size] = case.make(self.folder / f"source-{len(self._paths)}")
        return self._paths[kind, size]

    def full(self, kind: str) -> Manifest:
        """The manifest of the full policy, exported as one that is sampled, where that can be."""
        if kind not in self._full:
            options: dict[str, Any] = {**self.kinds[kind].full.options, "formats": "onnx"}
            if TABLE[kind]["sampled"] == YES:
                options["actions"] = "sampled"
            name = f"full-{len(self._full)}"
            bundle = rlway_export.export(self.path(kind, "full"), self.folder / "models", name, **options)
            self._full[kind] = bundle.manifest
        return self._full[kind]


@pytest.fixture(scope="module", autouse=True)
def _few_rows() -> Iterator[None]:
    """A policy that was saved for one row acts on them one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "ROWS", 256)
        patch.setattr(parity, "ROWS", 256)
        yield


@pytest.fixture(scope="module")
def sources(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder = tmp_path_factory.mktemp("page")
    (folder / "world.py").write_text(WORLD)

    def recurrent(_: Path) -> Path:
        make_run(folder / "recurrent", *RUNS["recurrent"])
        return folder / "recurrent"

    runs = Kind(Case(lambda _: trained_run), Case(recurrent))
    return Sources(folder, {RUN: runs, **KINDS})


def test_the_table_has_every_kind_of_source_once() -> None:
    """In the order in which most users meet them; every cell has one of the words that the page explains."""
    assert list(TABLE) == [RUN, *KINDS]
    known = {"formats": {"all"}, "`--watch`": {*WATCHED}, "`--evaluate`": {YES, NEEDS_ENV}}
    for row in TABLE.values():
        for column, cell in list(row.items())[1:]:
            assert cell in known.get(column, {YES, NONE})


@pytest.mark.parametrize("kind", TABLE)
def test_the_options_that_a_source_needs_are_named(kind: str) -> None:
    """Those with which its policies are exported here."""
    options = {*KINDS[kind].full.options} if kind in KINDS else set()
    expected = "`--agent`" if options == {"agent"} else "[roles](#which-tensor-is-what)" if options else ""
    assert TABLE[kind]["needs"] == expected
    assert options <= {"agent", *ROLES}


@pytest.mark.parametrize("kind", TABLE)
def test_all_formats_can_be_had_and_played_in_an_environment(kind: str, sources: Sources, tmp_path: Path) -> None:
    """The SavedModel, the other files, and the mean return of each; int8 is a matter of the policy."""
    path, given = sources.path(kind, "plain"), sources.kinds[kind].plain.options
    options: dict[str, Any] = {**given, "formats": EXACT, "evaluate": 1}
    if TABLE[kind]["`--evaluate`"] == NEEDS_ENV:
        with pytest.raises(UsageError, match="--env"):
            rlway_export.export(path, tmp_path, "p", **options)
        options["env"] = f"{sources.folder}/world.py:Field"
    manifest = rlway_export.export(path, tmp_path, "p", **options).manifest
    assert "saved_model.pb" in manifest.files
    assert [row.file for row in manifest.parity] == [FORMATS[name].files[-1] for name in EXACT.split(",")]
    assert all(row.mean_return is not None for row in manifest.measured)


def _is_sampled(manifest: Manifest) -> bool:
    """Of each full policy at least one choice is drawn by its scores."""
    return manifest.noise is not None and manifest.explore is not None and manifest.explore.temperature == 1.0


FEATURES: dict[str, Callable[[Manifest], bool]] = {
    "sampled": _is_sampled,
    "state": lambda manifest: bool(manifest.state),
    "saved for one row": lambda manifest: manifest.parity[0].batch_sizes == [1, 7, 64],
    "several actions": lambda manifest: len(manifest.actions) == 2,
}


@pytest.mark.parametrize(
    ("kind", "feature"), [(kind, feature) for kind, row in TABLE.items() for feature in FEATURES if row[feature] == YES]
)
def test_a_policy_keeps_what_it_has(kind: str, feature: str, sources: Sources) -> None:
    """Its draws, its state and the parts of its action; and one that was saved for one row takes any number."""
    assert FEATURES[feature](sources.full(kind))


def test_a_triggers_folder_is_its_greedy_policy(sources: Sources, tmp_path: Path) -> None:
    """Which cannot be sampled."""
    assert [kind for kind in TABLE if TABLE[kind]["sampled"] == NONE] == [TRIGGER]
    with pytest.raises(UsageError, match=r"--actions sampled: .* without noise"):
        rlway_export.export(sources.path(TRIGGER, "full"), tmp_path, "p", formats="onnx", actions="sampled")


def test_a_training_refuses_actions_of_several_parts(sources: Sources, tmp_path: Path, rlway: Rlway) -> None:
    """So no run has them."""
    assert [kind for kind in TABLE if TABLE[kind]["several actions"] == NONE] == [RUN]
    done = rlway("train", "sac", "--env", f"{sources.folder}/world.py:Hand", "--run", tmp_path / "run")
    assert done.status != 0
    assert "got a Dict of 2" in done.stderr


def test_only_what_is_saved_by_an_export_itself_is_never_for_one_row() -> None:
    """The graphs of runs and of an agent's code."""
    free = [kind for kind in TABLE if TABLE[kind]["saved for one row"] == NONE]
    assert free == [RUN, "an agent's checkpoints"]


@pytest.mark.parametrize("kind", TABLE)
def test_a_source_is_followed_and_published_once(kind: str, sources: Sources, tmp_path: Path) -> None:
    """What is there when --watch ends is published, and a second --watch publishes nothing more."""
    given = sources.kinds[kind].plain.options
    tensors = TensorOptions(meaning=(given["meaning"],) if "meaning" in given else ())
    agent = AgentCode(given["agent"]) if "agent" in given else None
    ended = threading.Event()
    ended.set()
    told, notes, counts = Told(tensors=tensors, agent=agent), list[str](), list[int]()
    for _ in range(2):
        watch = Watch(sources.path(kind, "plain"), Publication(tmp_path, "p", []), told)
        watch.publish(0.01, ended, notes.append, lambda _: None)
        counts.append(len(bundle_versions(tmp_path / "p")))
    assert notes == []
    assert counts[0] == counts[1] >= WATCHED[TABLE[kind]["`--watch`"]]
