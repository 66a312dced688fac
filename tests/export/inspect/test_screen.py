"""The screen of `rlway inspect`, and the command that prints it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from rlway_client.contract.fresh_return import FreshReturn
from rlway_client.contract.interface import Draw
from rlway_client.contract.specs import TensorSpec
from rlway_export.inspect.report import (
    Export,
    Memory,
    Policy,
    PolicyFolder,
    Report,
    Signature,
    Tensor,
    Training,
    Written,
)
from rlway_export.inspect.screen import show
from tests.conftest import TRAIN, run_command
from tests.export import onnx_forms, stock
from tests.export.conftest import Rlway

MOST_LINES = 40
POLICY = Policy(
    observation=[TensorSpec("observation", (4,), "float32", -1, 1)],
    actions=[TensorSpec("action", (), "int64", 0, 2)],
    noise=None,
    draws=[],
    time_step=[],
    state=[],
    outputs=[],
    chooses="greedy",
    epsilon=None,
)
REPORT = Report(
    path="there",
    kind="SavedModel",
    title="a SavedModel",
    written=Written(by="TF-Agents' PolicySaver", version="TensorFlow 2.9.1", file_time="2022-05-01T08:30:00+00:00"),
    policy=POLICY,
    memory=Memory(parameters=1234, weight_bytes=4936, activation_bytes=None),
    export=Export(
        refused=None,
        formats={"onnx": None, "tflite": None, "c": "C: has no Cosh."},
        notes=["it was assumed."],
        flags=[],
        command="rlway export there",
    ),
)


def shown(report: Report) -> str:
    """The screen, as a terminal of 100 columns has it, with single spaces."""
    console = Console(file=io.StringIO(), width=100)
    show(report, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(" ".join(line.split()) for line in console.file.getvalue().splitlines())


def test_the_screen_has_a_line_for_each_fact() -> None:
    """Who wrote it and when, what it takes and gives, what an export would do."""
    assert shown(REPORT).splitlines() == [
        "there: a SavedModel",
        "written TF-Agents' PolicySaver, TensorFlow 2.9.1, file of 2022-05-01 08:30 UTC",
        "observation float32[4] -1 … 1",
        "action int64 0 … 2",
        "chooses greedily",
        "rows any number at once",
        "memory 1,234 parameters in 4,936 bytes",
        "export converts to onnx, tflite; the other formats are made from these; an export also",
        "compares every file with the policy",
        "not c C: has no Cosh.",
        "note it was assumed.",
        "rlway export there",
    ]


def test_a_run_is_shown_with_what_fresh_episodes_gave() -> None:
    """With the interval of their mean, and the number of checkpoints that it was chosen among."""
    fresh = FreshReturn(final_return=482.65, final_interval=(455.1, 499.6), final_episodes=20, chosen_among=27)
    training = Training(
        algorithm="dqn", env="CartPole-v1", preset="cartpole", seed=3, has_ended=True, steps=28_008, fresh=fresh
    )
    assert (
        "training dqn in CartPole-v1 (preset cartpole), seed 3; ended after 28,008 steps; return 482.6 over 20 fresh "
        "episodes (95% interval 455 to 500), by the best of 27 checkpoints"
    ) in " ".join(shown(msgspec.structs.replace(REPORT, training=training)).split())


def test_a_run_is_shown_with_its_frames() -> None:
    """How many of them are one observation, where it is more than one."""
    training = Training(algorithm="dqn", env="ALE/Pong-v5", preset=None, seed=3, frame_stack=4, has_ended=False)
    lines = shown(msgspec.structs.replace(REPORT, training=training)).splitlines()
    assert "training dqn in ALE/Pong-v5, 4 frames an observation, seed 3; it has not ended" in lines


def test_a_nest_is_a_tree() -> None:
    """The keys of dicts and tuples, each under the one that holds it; a long nest is cut."""
    paths = [("arm", "speed"), ("arm", "torque"), ("camera",)]
    specs = [TensorSpec("_".join(path), (2,), "float32", path=path) for path in paths]
    lines = shown(msgspec.structs.replace(REPORT, policy=msgspec.structs.replace(POLICY, observation=specs)))
    assert "observation arm\n├── speed float32[2] unbounded\n└── torque float32[2] unbounded\ncamera" in lines
    many = [TensorSpec(f"o{i}", (), "float32", path=(f"key{i}",)) for i in range(50)]
    lines = shown(msgspec.structs.replace(REPORT, policy=msgspec.structs.replace(POLICY, observation=many)))
    assert "… 34 more, which --json has" in lines
    assert len(lines.splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    ("chooses", "epsilon", "draws", "sentence"),
    [
        ("sampled", None, [Draw("normal", 2), Draw("gumbel", 3)], "2 standard normal, then 3 Gumbel numbers as noise"),
        ("epsilon-greedy", 0.1, [], "ε-greedily with ε = 0.1; the files are greedy"),
        (
            "epsilon-greedy",
            None,
            [Draw("gumbel", 3)],
            "ε-greedily with an ε that is not constant; the files take 3 Gum",
        ),
        ("greedy", None, [Draw("gumbel", 3)], "chooses greedily; the files take 3 Gumbel numbers as noise"),
    ],
)
def test_the_screen_says_how_actions_are_chosen(
    chooses: str, epsilon: float | None, draws: list[Draw], sentence: str
) -> None:
    """The source's own way, and what becomes of its draws."""
    changed = {"chooses": chooses, "epsilon": epsilon, "draws": draws}
    policy = msgspec.structs.replace(POLICY, **changed)
    assert sentence in shown(msgspec.structs.replace(REPORT, policy=policy)).replace("\n", " ")


def test_a_refused_source_is_shown_by_its_signature() -> None:
    """The functions that give something for something, each once, and the sentence of the export."""
    tensors = [Tensor("x", "float32", [None, 4])], [Tensor("y", "float32", None)]
    signatures = [Signature("serve", *tensors), Signature("other", *tensors), Signature("get", [], tensors[1])]
    refused = msgspec.structs.replace(REPORT.export, refused="there: draws.")
    lines = shown(
        msgspec.structs.replace(REPORT, policy=None, signatures=signatures, export=refused, saved_rows=1)
    ).splitlines()
    assert "serve x float32[?, 4] → y float32 of any shape" in lines
    assert "rows saved for 1 at once" in lines
    assert "export would be refused: there: draws." in lines
    assert not any(line.startswith(("other", "get", "observation")) for line in lines)


def test_names_in_a_file_cannot_command_the_terminal() -> None:
    """Neither escape sequences nor rich's markup: of tensors, keys, writers, and in sentences that quote them."""
    evil = "\x1b[31m[bold]obs"
    tensors = [Tensor(evil, "float32", [None, 4])]
    policy = msgspec.structs.replace(POLICY, observation=[TensorSpec("o", (), "float32", path=(evil,))])
    written = msgspec.structs.replace(REPORT.written, by=evil, agent="DQN", agent_seen=evil)
    export = msgspec.structs.replace(REPORT.export, refused=evil, notes=[evil], formats={"c": evil}, command=evil)
    report = msgspec.structs.replace(
        REPORT, path=evil, policy=policy, written=written, contents={evil: 1}, signatures=[Signature(evil, tensors, [])]
    )
    outputs = msgspec.structs.replace(policy, outputs=[TensorSpec(evil, (), "float32")])
    training = Training(algorithm=evil, env=evil, preset=evil, seed=1, has_ended=False)
    policies = [PolicyFolder(name=evil, is_exported=True, draws=[evil])]
    others = {"policy": outputs, "training": training, "policies": policies, "title": evil}
    for changed in ({}, {"export": export}, {"policy": None}, others):
        text = shown(msgspec.structs.replace(report, **changed))
        assert "[bold]obs" in text
        assert all(letter.isprintable() or letter == "\n" for letter in text)


@pytest.mark.slow
def test_the_command_inspects_what_an_export_takes(tmp_path: Path, rlway: Rlway) -> None:
    """One screen of at most 40 lines, or JSON; nothing is written to the folder, nor to stderr."""
    path = onnx_forms.save(onnx_forms.rsl_rl_lstm(), tmp_path / "actor.onnx")
    done = run_command(TRAIN, "inspect", path)
    assert (done.status, done.stderr) == (0, "")
    assert f"{path}: an ONNX file in the form of rsl_rl" in done.stdout
    assert len(done.stdout.splitlines()) <= MOST_LINES
    printed = rlway("inspect", path, "--json")
    report = json.loads(printed.stdout)
    assert report["policy"]["state"][0]["shape"] == [2, 8]
    assert set(report) == set(Report.__struct_fields__)
    assert [one.name for one in tmp_path.iterdir()] == ["actor.onnx"]


@pytest.mark.slow
def test_the_command_shows_a_saved_model_on_one_screen(tmp_path: Path) -> None:
    """A recurrent policy that draws is the longest of the usual ones."""
    stock.save(stock.agent("recurrent-ppo").collect_policy, tmp_path)
    done = run_command(TRAIN, "inspect", tmp_path)
    assert (done.status, done.stderr) == (0, "")
    for word in ("PPO", "standard normal", "actor_network_state", "info_dist_params_loc", "onnx, tflite, c"):
        assert word in done.stdout
    assert len(done.stdout.splitlines()) <= MOST_LINES


def test_a_path_that_is_no_text_is_printed_as_json(tmp_path: Path) -> None:
    """Its bytes are of no encoding; the JSON is text all the same, and has them back."""
    path = onnx_forms.save(onnx_forms.sb3_dqn(), tmp_path / "policy-\udcff.onnx")
    done = run_command(TRAIN, "inspect", path, "--json")
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["path"].endswith("policy-\udcff.onnx")
