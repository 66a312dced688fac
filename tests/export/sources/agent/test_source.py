"""Checkpoints with their agent's code: what the tutorials write, and what does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.trajectories import time_step

import rlway_export
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid, UsageError
from rlway_client.contract.evidence import Evidence
from tests.conftest import ROOT
from tests.export import agents
from tests.export.conftest import Rlway

pytestmark = pytest.mark.slow

CODE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.export.agents import tutorial_dqn

def agent():
    print("made")
    return tutorial_dqn()
"""
DQN = "tests.export.agents:tutorial_dqn"


@pytest.fixture(scope="module")
def dqn() -> Any:
    return agents.initialized(agents.tutorial_dqn)


@pytest.fixture(scope="module")
def folder(dqn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the DQN tutorial's checkpointer wrote at step 7. Not to be changed."""
    return agents.checkpointed(dqn, tmp_path_factory.mktemp("checkpointed") / "checkpoint")


def exported(folder: Path, models: Path, agent: Any = DQN, **options: Any) -> Bundle:
    return rlway_export.export(folder, models, "p", agent=agent, formats="onnx", **options)


def acts_as(agent: Any, bundle: Bundle) -> bool:
    """Whether the bundle's greedy actions are those of the agent's policy."""
    proof = Evidence.read(bundle.path / "parity.npz", bundle.manifest)
    seen = proof.inputs["observation"]
    greedy = np.ones(len(seen), bool) if "noise" not in proof.inputs else ~proof.inputs["noise"].any(axis=1)
    acted = agent.policy.action(time_step.restart(tf.constant(seen), len(seen))).action.numpy()
    return bool(np.allclose(acted[greedy], proof.expected["action"][greedy], atol=1e-5))


def test_the_command_exports_what_the_dqn_tutorial_checkpoints(
    dqn: Any, folder: Path, tmp_path: Path, rlway: Rlway
) -> None:
    """The agent's code prints nothing to stdout, and the manifest names it."""
    code = tmp_path / "make.py"
    code.write_text(CODE)
    words = (
        "--models",
        tmp_path / "models",
        "--policy",
        "p",
        "--formats",
        "onnx",
        "--agent",
        f"{code}:agent",
        "--json",
    )
    done = rlway("export", folder, *words)
    assert done.status == 0, done.stderr
    assert done.stdout.startswith("{")
    bundle = Bundle.open(tmp_path / "models/p/1")
    assert (bundle.manifest.training["checkpoint"], bundle.manifest.training["agent"]) == (7, f"{code}:agent")
    assert acts_as(dqn, bundle)


def test_the_checkpoints_of_a_learner_are_exported(tmp_path: Path) -> None:
    """As the SAC tutorial has it, with sampled actions: zero noise gives the greedy ones."""
    sac = agents.initialized(agents.tutorial_sac)
    folder = agents.learned(sac, tmp_path / "root")
    bundle = exported(folder, tmp_path, agents.tutorial_sac, actions="sampled")
    assert bundle.manifest.training["checkpoint"] == 1
    assert bundle.manifest.noise is not None
    assert bundle.manifest.explore is not None
    assert exported(folder, tmp_path, agents.tutorial_sac).manifest.noise is None
    proof = Evidence.read(bundle.path / "parity.npz", bundle.manifest)
    greedy = ~proof.inputs["noise"].any(axis=1)
    seen = tf.constant(proof.inputs["observation"][greedy])
    mean = sac.policy.distribution(time_step.restart(seen, len(seen))).action.mode()
    np.testing.assert_allclose(proof.expected["action"][greedy], mean, atol=1e-5)


def _agent_alone(agent: Any, folder: Path) -> None:
    tf.train.Checkpoint(agent=agent).save(str(folder / "model"))


def _policy_alone(agent: Any, folder: Path) -> None:
    tf.train.Checkpoint(policy=agent.policy, step=tf.Variable(3)).write(str(folder / "policy"))


def _collecting(agent: Any, folder: Path) -> None:
    tf.train.Checkpoint(policy=agent.collect_policy, agent=agent).save(str(folder / "ckpt"))


def _itself(agent: Any, folder: Path) -> None:
    tf.train.Checkpoint(root=agent).save(str(folder / "ckpt"))


def _network_alone(agent: Any, folder: Path) -> None:
    tf.train.Checkpoint(q_network=agent._q_network, target_q_network=agent._target_q_network).save(str(folder / "ckpt"))


def _without_a_graph(agent: Any, folder: Path) -> None:
    """As PolicySavedModelTrigger saves weights, whose graphs are gone."""
    PolicySaver(agent.policy).save_checkpoint(str(folder / "policy_checkpoint_0000000012"))


@pytest.mark.parametrize("save", [_agent_alone, _policy_alone, _network_alone, _collecting, _itself, _without_a_graph])
def test_the_policy_is_found_however_it_was_saved(save: Any, dqn: Any, tmp_path: Path) -> None:
    """With the agent, by itself, as the root, with or without a number."""
    (tmp_path / "saved").mkdir()
    save(dqn, tmp_path / "saved")
    assert acts_as(dqn, exported(tmp_path / "saved", tmp_path))


def test_a_checkpoint_is_chosen_by_its_number(dqn: Any, tmp_path: Path) -> None:
    """The latest is the one that TensorFlow noted, not the one with the highest number."""
    other = agents.initialized(agents.tutorial_dqn)
    other.policy.variables()[-1].assign([5.0, 0.0, 0.0])
    for agent, number in ((other, 9), (dqn, 4)):
        checkpoint = tf.train.Checkpoint(agent=agent)
        tf.train.CheckpointManager(checkpoint, str(tmp_path / "saved"), max_to_keep=None).save(number)
    for chosen, agent, number in (("latest", dqn, 4), (9, other, 9)):
        bundle = exported(tmp_path / "saved", tmp_path / "models", checkpoint=chosen)
        assert bundle.manifest.training["checkpoint"] == number
        assert acts_as(agent, bundle)
    with pytest.raises(UsageError, match=r"has no checkpoint 5; it has 4, 9\.$"):
        exported(tmp_path / "saved", tmp_path / "models", checkpoint=5)


def test_untrained_weights_are_noted(dqn: Any, tmp_path: Path) -> None:
    """The checkpoint's step is that of the SavedModel."""
    agents.checkpointed(dqn, tmp_path / "saved", step=0)
    assert any("its train step is 0" in note for note in exported(tmp_path / "saved", tmp_path).manifest.notes)


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def _names_only(folder: Path) -> None:
    """As tf.compat.v1.train.Saver writes them: without a graph of objects."""
    shutil.rmtree(folder)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("kernel", [3])
        session.run(tf.compat.v1.global_variables_initializer())
        folder.mkdir()
        tf.compat.v1.train.Saver().save(session, str(folder / "model"), global_step=3)


INDEX, DATA = "ckpt-7.index", "ckpt-7.data-00000-of-00001"
DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a cut index": (lambda folder: _cut(folder / INDEX, 50), "is a damaged checkpoint: "),
    "a cut shard": (lambda folder: _cut(folder / DATA, 100), "is a damaged checkpoint: "),
    "no shard": (lambda folder: (folder / DATA).unlink(), "is no complete checkpoint"),
    "one shard of two": (
        lambda folder: (folder / DATA).rename(folder / "ckpt-7.data-00000-of-00002"),
        "is no complete checkpoint",
    ),
    "no checkpoint": (lambda folder: (folder / INDEX).unlink(), "has no checkpoints, which --agent is for"),
    "variables by name": (_names_only, "was not written by tf.train.Checkpoint"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_checkpoint_is_refused(case: str, folder: Path, tmp_path: Path) -> None:
    """In one sentence, and nothing is published."""
    damage, expected = DAMAGED[case]
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    damage(copy)
    with pytest.raises(RunInvalid, match=expected):
        exported(copy, tmp_path / "models")
    assert not (tmp_path / "models").exists()


OTHERS: dict[str, tuple[Any, type[RlwayError], str]] = {
    "wider layers": (agents.wider_dqn, ExportRefused, r"is of another network: expected .* \[4, 24\], got \[4, 20\]"),
    "more layers": (agents.deeper_dqn, ExportRefused, r"is of another network: expected .*kernel of the shape"),
    "a network of another class": (
        agents.shallower_dqn,
        ExportRefused,
        "has no value for QNetwork/.* of the policy; it",
    ),
    "another agent": (agents.tutorial_sac, ExportRefused, "has no value for ActorDistributionNetwork/"),
    "code that fails": (
        lambda: 1 / 0,
        UsageError,
        "raised ZeroDivisionError: division by zero; name a function without arguments",
    ),
    "code that ends": (lambda: exit(3), UsageError, "raised SystemExit: 3"),
    "something else": (lambda: 3, UsageError, "expected a TFAgent, got int; name a function"),
    "a function of arguments": (lambda size: size, UsageError, "missing 1 required positional argument: 'size'"),
    "no such file": ("nowhere.py:agent", UsageError, r"^--agent nowhere\.py: no such file\.$"),
    "no such module": ("nowhere.at_all:agent", UsageError, "could not be imported: ModuleNotFoundError"),
    "no such function": ("tests.export.agents:dqn", UsageError, "tests.export.agents has no 'dqn'; name a function"),
    "no text": ("agent-\udcff.py:agent", UsageError, r"^--agent 'agent-\\udcff\.py:agent': expected a name in UTF-8"),
    "no function": ("tests.export.agents", UsageError, "expected module:function or file.py:function"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_an_agent_that_does_not_fit_is_refused(case: str, folder: Path, tmp_path: Path) -> None:
    """The variable, the code, and what to give instead."""
    agent, kind, expected = OTHERS[case]
    with pytest.raises(kind, match=expected):
        exported(folder, tmp_path / "models", agent)
    assert not (tmp_path / "models").exists()


def test_a_policy_that_fails_while_it_is_written_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was traced before, and its weights were found."""

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("holds what cannot be tracked")

    monkeypatch.setattr(PolicySaver, "save", fail)
    with pytest.raises(ExportRefused, match="its policy cannot be saved: holds what cannot be tracked"):
        exported(folder, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_checkpoint_whose_network_has_more_layers_is_refused(tmp_path: Path) -> None:
    """Though each variable of the agent has a value of its shape in it."""
    deeper = agents.initialized(agents.deeper_dqn)
    layer = deeper.policy.wrapped_policy._q_network.layers[0]  # as if the class had got a layer since
    layer.more = tf.Variable(tf.ones([3]))
    folder = agents.checkpointed(deeper, tmp_path / "saved")
    with pytest.raises(ExportRefused, match=r"is of another network: its policy has .*more.*, and the agent's has not"):
        exported(folder, tmp_path / "models", agents.deeper_dqn)


def test_an_agent_for_what_has_a_graph_is_refused(trigger: Path, folder: Path, tmp_path: Path) -> None:
    """A trigger's folder needs no code; and a folder without --agent is told of it."""
    with pytest.raises(UsageError, match=r"--agent: .* has the graph of its policy, so it needs no code; leave it out"):
        exported(trigger, tmp_path)
    with pytest.raises(RunInvalid, match=r"holds weights without a graph; .* --agent module:function"):
        rlway_export.export(folder, tmp_path, "p")
    with pytest.raises(UsageError, match="--as: the agent says itself"):
        exported(folder, tmp_path, meaning="logits")
    with pytest.raises(RunInvalid, match=f"has no checkpoints, which --agent is for .*; give {folder}"):
        exported(folder.parent, tmp_path)
