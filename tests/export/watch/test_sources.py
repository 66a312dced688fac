"""Following what is no run: checkpoints that appear, and files that are replaced."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rlway_client.contract.bundle import Bundle, bundle_versions
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_export.sources.agent.code import AgentCode
from rlway_export.sources.tensor_options import TensorOptions
from rlway_export.watch.kinds import Told
from rlway_export.watch.watch import Publication, Watch
from tests.conftest import TRAIN
from tests.export import agents, networks, onnx_forms, stock

pytestmark = pytest.mark.slow

SCORES = Told(tensors=TensorOptions(meaning=("q_values",)))
Step = Callable[[], object]


class Publishing:
    """Follows a path, and does the next step whenever a version appears; after the last step the parent has ended."""

    def __init__(self, path: Path, models: Path, told: Told, *steps: Step) -> None:
        self._watch = Watch(path, Publication(models, "p", []), told)
        self._steps = list(steps)
        self._ended = threading.Event()
        self.notes: list[str] = []
        self.checkpoints: list[Any] = []

    def run(self) -> list[Any]:
        """The checkpoints of the versions that were published."""
        self._step()
        self._watch.publish(0.01, self._ended, self.note, self._published)
        return self.checkpoints

    def note(self, text: str) -> None:
        """What is reported is a step as well: the next one follows."""
        self.notes.append(text)
        self._step()

    def _published(self, bundle: Bundle) -> None:
        self.checkpoints.append(bundle.manifest.training["checkpoint"])
        self._step()

    def _step(self) -> None:
        if self._steps:
            self._steps.pop(0)()
        if not self._steps:
            self._ended.set()


def versions(models: Path) -> list[Any]:
    found = sorted(bundle_versions(models / "p"))
    return [Bundle.open(models / "p" / str(version)).manifest.training["checkpoint"] for version in found]


class Trigger:
    """A trigger's folder, in which its checkpoints appear one after the other."""

    def __init__(self, trigger: Path, folder: Path) -> None:
        self._trigger = trigger
        self.folder = Path(shutil.copytree(trigger, folder, ignore=shutil.ignore_patterns("policy_checkpoint_*")))

    def path(self, number: int) -> Path:
        return self.folder / f"checkpoints/policy_checkpoint_{number:010d}"

    def keep(self, number: int) -> None:
        shutil.copytree(self._trigger / self.path(number).relative_to(self.folder), self.path(number))

    def begin(self, number: int) -> None:
        """Its data, before the index is written."""
        self.keep(number)
        (self.path(number) / "variables/variables.index").unlink()


@pytest.mark.parametrize("named", [".", "greedy_policy", ".."])
def test_each_checkpoint_of_a_trigger_is_published_once(named: str, trigger: Path, tmp_path: Path) -> None:
    """By any path to it; one that is still being written is not, and a new process goes on with what is left."""
    growing, models = Trigger(trigger, tmp_path / "root/policies"), tmp_path / "models"
    path = growing.folder / named
    begun = Publishing(path, models, Told(), lambda: growing.keep(10), lambda: growing.begin(20))
    assert begun.run() == [10]
    shutil.rmtree(growing.path(20))
    assert Publishing(path, models, Told("new"), lambda: growing.keep(20)).run() == [20]
    assert Publishing(path, models, Told()).run() == []
    assert versions(models) == [10, 20]


def test_a_checkpoint_without_a_shard_is_reported_at_the_end(trigger: Path, tmp_path: Path) -> None:
    """The others are published."""
    growing, models = Trigger(trigger, tmp_path / "policies"), tmp_path / "models"
    growing.keep(20)
    data = growing.path(20) / "variables/variables.data-00000-of-00001"
    data.rename(data.with_name("variables.data-00000-of-00002"))
    begun = Publishing(growing.folder, models, Told(), lambda: growing.keep(10))
    with pytest.raises(ExportRefused, match="1 of its checkpoints could not be published, as told above"):
        begun.run()
    assert begun.checkpoints == [10]
    assert begun.notes == ["checkpoint 20 is not complete."]


def test_a_damaged_checkpoint_does_not_stop_the_next(trigger: Path, tmp_path: Path) -> None:
    """It is reported at once."""
    growing, models = Trigger(trigger, tmp_path / "policies"), tmp_path / "models"

    def damage() -> None:
        growing.keep(10)
        index = growing.path(10) / "variables/variables.index"
        index.write_bytes(index.read_bytes()[:100])

    begun = Publishing(growing.folder, models, Told(), damage, lambda: growing.keep(20), lambda: None)
    with pytest.raises(ExportRefused, match="1 of its checkpoints could not be published"):
        begun.run()
    assert begun.checkpoints == [20]
    assert begun.notes[0].startswith("checkpoint 10 is not published: ")


def test_each_checkpoint_of_an_agent_is_published_once(tmp_path: Path) -> None:
    """Though its folder is made later, and its checkpointer keeps only the last one."""
    agent = agents.initialized(agents.tutorial_dqn)
    folder, models = tmp_path / "checkpoint", tmp_path / "models"
    told = Told(agent=AgentCode(agents.tutorial_dqn))
    saver: list[Callable[[int], None]] = []

    def keep(step: int) -> None:
        if not saver:
            saver.append(agents.checkpointer(agent, folder))
        agent.policy.variables()[-1].assign([float(step), 0.0, 0.0])
        saver[0](step)

    assert Publishing(folder, models, told, lambda: keep(5), lambda: keep(6)).run() == [5, 6]
    assert Publishing(folder, models, told, lambda: keep(7)).run() == [7]
    assert Publishing(folder, models, told).run() == []
    assert versions(models) == [5, 6, 7]


def replaced(path: Path, by: Path) -> Step:
    """Copies it beside its place, and renames it."""

    def replace() -> None:
        draft = path.with_name(f"draft{path.suffix}")
        if by.is_file():
            shutil.copyfile(by, draft)
        else:
            shutil.copytree(by, draft)
            shutil.rmtree(path, ignore_errors=True)
        draft.rename(path)

    return replace


def network(units: int) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        made = networks.q_network()
        made.layers[-1].bias.assign([float(units), 0.0, 0.0])
        networks.save(made, path)

    return save


def signature(number: float) -> Callable[[Path], object]:
    kernel = networks.weights() * number
    return lambda path: networks.signed(lambda obs: {"values": obs @ kernel}, path)


def policy(number: float) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        made = stock.greedy("dqn")
        made.variables()[-1].assign_add([number, 0.0, 0.0])
        stock.save(made, path)

    return save


def onnx_file(number: float) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        form = onnx_forms.cleanrl_ppo()
        form.model.doc_string = str(number)
        onnx_forms.save(form, path)

    return save


REPLACED: dict[str, tuple[str, Callable[[Any], Callable[[Path], object]], Told]] = {
    "a Keras network": ("q.keras", network, SCORES),
    "a SavedModel with a signature": ("saved", signature, SCORES),
    "a SavedModel of PolicySaver": ("policy", policy, Told()),
    "an ONNX file": ("policy.onnx", onnx_file, Told()),
}


@pytest.mark.parametrize("case", REPLACED)
def test_each_content_of_a_path_is_published_once(case: str, tmp_path: Path) -> None:
    """The same content again is no new version, whoever published it."""
    name, make, told = REPLACED[case]
    path, models = tmp_path / "there" / name, tmp_path / "models"
    path.parent.mkdir()
    contents = [tmp_path / f"{number}-{name}" for number in range(3)]
    for number, content in enumerate(contents):
        make(number)(content)
    first, second, third = (replaced(path, content) for content in contents)
    assert len(Publishing(path, models, told, first, second).run()) == 2
    assert Publishing(path, models, told, first).run() == []
    assert len(Publishing(path, models, told, third).run()) == 1
    assert len(versions(models)) == 3


@pytest.mark.parametrize("name", ["policy.onnx.data", "weights.bin"])
def test_weights_beside_an_onnx_file_are_part_of_it(name: str, tmp_path: Path) -> None:
    """PyTorch writes them into another file, of any name, and the ONNX file itself stays the same."""
    path, models = tmp_path / "policy.onnx", tmp_path / "models"
    beside = tmp_path / name
    onnx.save(onnx_forms.cleanrl_ppo().model, path, save_as_external_data=True, location=beside.name, size_threshold=0)
    halved = (np.frombuffer(beside.read_bytes(), np.float32) / 2).tobytes()
    steps = (lambda: None, lambda: beside.write_bytes(halved))
    assert len(Publishing(path, models, Told(), *steps).run()) == 2
    assert Publishing(path, models, Told()).run() == []


PIPELINE = """\
models:
  policy:
    parameters:
      backend: onnx
      model_path: policy.onnx
pipeline:
  inputs:
    policy: [obs]
  outputs:
    policy: [actions]
"""


def test_a_pipeline_is_published_when_what_it_names_is_replaced(tmp_path: Path) -> None:
    """Not when anything else in its folder is."""
    folder, models = tmp_path / "walk", tmp_path / "models"
    folder.mkdir()
    (folder / "walk.yaml").write_text(PIPELINE)

    def saved(text: str) -> None:
        form = onnx_forms.rsl_rl()
        form.model.doc_string = text
        onnx_forms.save(form, folder / "policy.onnx")

    assert len(Publishing(folder, models, Told(), lambda: saved("one"), lambda: saved("two")).run()) == 2
    (folder / "notes.txt").write_text("new")
    assert Publishing(folder, models, Told()).run() == []


def test_a_file_that_cannot_be_exported_is_reported_until_it_is_replaced(tmp_path: Path) -> None:
    """Such as one that is not written to its end."""
    path, models = tmp_path / "q.keras", tmp_path / "models"
    network(1)(tmp_path / "whole.keras")
    steps = (lambda: path.write_bytes(b"PK"), replaced(path, tmp_path / "whole.keras"), lambda: None)
    begun = Publishing(path, models, SCORES, *steps)
    with pytest.raises(ExportRefused, match=r"q\.keras: 1 of its versions could not be published"):
        begun.run()
    assert begun.notes[0].startswith("q.keras is not published: ")
    assert len(begun.checkpoints) == 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Told("better", TensorOptions(meaning=("q_values",))), "--each better: only a run of `rlway train` says"),
        (Told(agent=AgentCode(agents.tutorial_dqn)), "--agent: expected a folder of checkpoints, got the file"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(told: Told, expected: str, tmp_path: Path) -> None:
    """Before anything is published."""
    path = networks.save(networks.q_network(), tmp_path / "q.keras")
    with pytest.raises(UsageError, match=expected):
        Publishing(path, tmp_path / "models", told).run()


@pytest.mark.parametrize("end", ["Ctrl-C", "the end of stdin"])
def test_the_command_follows_a_file_until_it_is_told_to_end(end: str, tmp_path: Path) -> None:
    """With status 0."""
    path = networks.save(networks.q_network(), tmp_path / "q.keras")
    words = [str(TRAIN), "export", str(path), "--models", str(tmp_path / "models"), "--policy", "p", "--as", "q_values"]
    words += ["--formats", "onnx", "--watch", "--poll-s", "0.05"]
    words += ["--until-stdin-ends"] if end == "the end of stdin" else []
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdin is not None
        assert command.stdout.readline() == "published p version 1: q.keras\n"
        if end == "Ctrl-C":
            command.send_signal(signal.SIGINT)
        else:
            command.stdin.close()
        assert command.wait(120) == 0
