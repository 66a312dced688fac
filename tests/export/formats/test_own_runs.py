"""Runs with dicts of observations or with policy state: their tensors in every format, and the use of their bundles."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from tf_agents.train.triggers import PolicySavedModelTrigger

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.evidence import Evidence
from rlway_client.contract.exploration import Explore, draw_noise
from rlway_client.contract.run import TrainingRun
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.runners import open_runner
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks.observations import Observations
from rlway_export.formats.registry import parse_formats
from rlway_export.sources.detect import open_source
from rlway_train.agents.factory import make_learner
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.domain import Domain
from tests.conftest import SERVE, run_command
from tests.export.bundle.model_card_commands import commands_of, run_commands

pytestmark = pytest.mark.slow

ROOMS = [
    TensorSpec("observation_body_at", (2,), "float32", 0, 9, ("body", "at")),
    TensorSpec("observation_body_turn", (), "int64", 0, 3, ("body", "turn")),
    TensorSpec("observation_wall", (2, 2), "float32", 0, 1, ("wall",)),
]
VECTOR = [TensorSpec("observation", (3,), "float32", -1, 1)]
CHOICE = TensorSpec("action", (), "int64", 0, 2)
PUSH = TensorSpec("action", (2,), "float32", -1, 1)
CHEAP: dict[str, Any] = {"batch_size": 8, "block_steps": 8, "block_iterations": 1}
RUNS: dict[str, tuple[TrainingSettings, list[TensorSpec], TensorSpec]] = {
    "dict": (DqnSettings(hidden=(16,), normalize=True, xla=False, **CHEAP), ROOMS, CHOICE),
    "dict-sac": (SacSettings(hidden=(16, 16), **CHEAP), ROOMS, PUSH),
    "offset": (DqnSettings(hidden=(16,), xla=False, **CHEAP), VECTOR, TensorSpec("action", (1,), "int64", 5, 7)),
    "recurrent": (
        DqnSettings(hidden=(16,), lstm=8, sequence_length=5, burn_in=2, differences=True, xla=False, **CHEAP),
        VECTOR,
        CHOICE,
    ),
}
# int8 is too coarse for policy state. What is special about `offset` is the same in any precision. SAC has all formats
# in test_registry.py, and dicts have them here.
FLOAT32 = "onnx,tflite,c"
EVERY = f"{FLOAT32},onnx-fp16,tflite-fp16,tflite-dynamic"
GAMES = "unity,godot"
FORMATS = {
    "dict": f"{EVERY},{GAMES}",
    "dict-sac": f"{FLOAT32},{GAMES}",
    "offset": f"{FLOAT32},{GAMES}",
    "recurrent": f"{EVERY},unity",
}
ENVIRONMENTS = {"dict": "Rooms", "dict-sac": "Halls", "offset": "Dial", "recurrent": "Line"}
WORLDS = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete


class Line(gymnasium.Env):
    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self._steps += 1
        return self.observation_space.sample(), 1.0, self._steps == 4, False, {}


class Dial(Line):
    action_space = Box(5, 7, (1,), np.int64)


class Rooms(Line):
    body = Dict({"at": Box(0, 9, (2,), np.float32), "turn": Discrete(4)})
    observation_space = Dict({"body": body, "wall": Box(0, 1, (2, 2), np.float32)})


class Halls(Rooms):
    action_space = Box(-1, 1, (2,), np.float32)
"""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of untrained learners, by name. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "worlds.py").write_text(WORLDS)
    for name in RUNS:
        make_run(folder / name, *RUNS[name])
    return folder


def make_run(folder: Path, settings: TrainingSettings, leaves: list[TensorSpec], action: TensorSpec) -> None:
    """Writes what a training leaves of its policy."""
    env = f"{folder.parent}/worlds.py:{ENVIRONMENTS[folder.name]}"
    domain = Domain(env, EnvSpec("Imagined-v0"), leaves, action, discretize=None, action_values=None)
    learner = make_learner(settings, domain, seed=1)
    act = [("act", learner.act())]
    trigger = PolicySavedModelTrigger(
        str(folder / "policies"), learner.agent, learner.train_step, interval=1, extra_concrete_functions=act
    )
    generator = np.random.default_rng(0)
    for variable in learner.agent.policy.variables():
        if variable.dtype == tf.float32 and variable.shape.rank:
            variable.assign_add(0.2 * generator.random(variable.shape).astype(np.float32))
    learner.train_step.assign(10)
    trigger(10, force_trigger=True)
    run = TrainingRun(
        algorithm=learner.algorithm,
        env=domain.env,
        seed=1,
        observation=leaves,
        action=action,
        noise=learner.noise,
        state=learner.state,
        outputs=learner.outputs,
        hyperparameters={},
        versions={},
        steps=10,
        iterations=10,
        iterations_per_s=1.0,
        wall_s=1.0,
        best_checkpoint=10,
        latest_checkpoint=10,
        final_return=1.0,
        final_episodes=1,
        random_return=0.0,
    )
    (folder / "run.json").write_bytes(msgspec.json.encode(run))
    sampled = Observations.find(run.interface, None, None).arrays
    np.savez(folder / "observations.npz", **{name: array[:2100] for name, array in sampled.items()})


@pytest.fixture(scope="session")
def bundles(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Every run in the formats that it asks for."""
    models = tmp_path_factory.mktemp("own-bundles") / "models"
    (models.parent / "worlds.py").write_text(WORLDS)  # where the cards' commands run, and look for it
    with chdir(models.parent):
        return {
            name: write_bundle(open_source(runs / name, "best"), models, name, parse_formats(formats), lambda _: None)
            for name, formats in FORMATS.items()
        }


@pytest.mark.parametrize("name", RUNS)
def test_a_run_with_a_dict_or_with_state_is_exported_with_its_tensors(name: str, bundles: dict[str, Bundle]) -> None:
    """Every leaf is an input of its own kind, the state is input and output, every file passes the gate."""
    _, leaves, action = RUNS[name]
    manifest = bundles[name].manifest
    assert manifest.observation == leaves
    assert manifest.action == action
    cells = [spec.name for spec in manifest.state]
    assert cells == (["state_h", "state_c", "last_observation", "has_last_observation"] if name == "recurrent" else [])
    model = onnx.load(bundles[name].path / "model.onnx")
    reset = ["reset"] if cells else []
    assert [value.name for value in model.graph.input] == [*(leaf.name for leaf in leaves), "noise", *cells, *reset]
    told = {value.name for value in model.graph.output} - {"action", "q_values", "loc", "scale"}
    assert told == {f"next_{cell}" for cell in cells}
    assert manifest.compared_over == "visited"
    assert len(manifest.parity) == len(parse_formats(FORMATS[name]))
    assert all(row.passed and row.observations >= 2000 for row in manifest.parity)


@pytest.mark.parametrize(("name", "most"), [("dict", 24), ("dict-sac", 24), ("recurrent", 32)])
def test_a_graph_of_ours_has_no_leftover_shape_arithmetic(name: str, most: int, bundles: dict[str, Bundle]) -> None:
    """One cast, of the whole number among the observations; slices only for the LSTM's gates."""
    operations = [node.op_type for node in onnx.load(bundles[name].path / "model.onnx").graph.node]
    assert not {"Shape", "Expand", "ConstantOfShape", "Gather"}.intersection(operations)
    assert operations.count("Slice") <= (4 if name == "recurrent" else 0)
    assert operations.count("Cast") <= (0 if name == "recurrent" else 1)
    assert len(operations) <= most


@pytest.mark.parametrize("name", RUNS)
def test_a_seed_samples_the_same_actions_from_every_file(
    name: str, bundles: dict[str, Bundle], runs: Path, tmp_path: Path
) -> None:
    """The SavedModel, ONNX, TFLite and C, with the noise of one seed."""
    bundle = bundles[name]
    interface = bundle.manifest.interface
    policy = open_source(runs / name, "best").materialize(tmp_path)
    rows = Evidence.read(bundle.path / "parity.npz", bundle.manifest).inputs
    rows = {key: array[:64] for key, array in rows.items()}
    explore = Explore(temperature=0.5) if interface.is_discrete else Explore(sigma=1.0)
    assert interface.noise is not None
    rows["noise"] = draw_noise(explore, 64, interface.noise_draws, np.random.default_rng(11))
    expected = policy.run_act(rows)["action"]
    assert len(np.unique(expected, axis=0)) > 1
    for file in ("model.onnx", "model.tflite", "policy.c"):
        runner = open_runner(bundle.path / file, bundle.manifest)
        singles = [runner.run({key: array[i : i + 1] for key, array in rows.items()}) for i in range(64)]
        found = np.concatenate([single["action"] for single in singles])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_bundle_with_state_is_inspected_without_tensorflow(bundles: dict[str, Bundle]) -> None:
    """Its state, and the output with the next state."""
    shown = run_command(SERVE, "inspect", bundles["recurrent"].path)
    assert shown.status == 0, shown.stderr
    for word in ("state_h", "reset", "next_state_c"):
        assert word in shown.stdout


def test_the_commands_of_the_cards_of_such_runs_work(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """With several inputs and with policy state; the environment is code: the commands name its file."""
    assert run_commands(bundles.values(), tmp_path / "log") == [["serve", "play", "edge", "verify"]] * len(RUNS)
    for bundle in bundles.values():
        for command in commands_of(bundle)[1:3]:
            assert command[command.index("--env") + 1] == bundle.manifest.env


def test_the_policies_folder_of_such_a_run_is_refused(runs: Path, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """Its graph counts from 0: exported by itself, it would choose actions that the environment does not have."""
    for folder in (runs / "offset/policies", bundles["offset"].path / "saved_model.pb"):
        with pytest.raises(ExportRefused, match=r"expected int64\[1\] from 5, got int64 from 0; export the run itself"):
            write_bundle(open_source(folder, "latest"), tmp_path, "zero", [], lambda _: None)
    assert not list(tmp_path.glob("zero/1"))
