"""Which role each tensor of a file has: by the options, and by the form of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlway_client.contract.errors import UsageError
from rlway_export.reference.roles import Roles
from rlway_export.sources.onnx.file import OnnxFile, read_onnx
from rlway_export.sources.onnx.recipes import recognise
from rlway_export.sources.roles import find_roles
from rlway_export.sources.tensor_options import TensorOptions
from tests.export import onnx_forms
from tests.export.onnx_forms import FLOAT, INT64, Form, Graph

BOTH = ("image", "command")


def _read(form: Form, folder: Path) -> OnnxFile:
    return read_onnx(onnx_forms.save(form, folder / "policy.onnx"))


def _found(file: OnnxFile, options: TensorOptions) -> tuple[Roles, list[str]]:
    return find_roles(file, options, recognise(file))


def _two_inputs() -> Form:
    g = Graph()
    g.add("Add", "image", "command", output="steering")
    g.add("ArgMax", "image", output="choice", axis=1, keepdims=0)
    outputs: list[Any] = [("steering", FLOAT, ["b", 3]), ("choice", INT64, ["b"])]
    return Form(g.model([("image", FLOAT, ["b", 3]), ("command", FLOAT, ["b", 3])], outputs), {})


def test_options_replace_what_the_form_suggests(tmp_path: Path) -> None:
    """One by one: the others are still taken from the form. If all are given, there is nothing to tell."""
    file = _read(onnx_forms.ml_agents(), tmp_path)
    roles, _ = _found(file, TensorOptions(action=("continuous_actions",), fixed=("action_masks=0.5",)))
    assert [(one.tensor, one.meaning) for one in roles.action] == [("continuous_actions", "action")]
    assert roles.fixed == {"action_masks": 0.5}
    said = TensorOptions(("obs_0", "obs_1"), ("discrete_actions",), ("action",), (), ("action_masks=1",))
    assert _found(file, said)[1] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "expected --action with the output that is the action, and --as action|q_values|logits|mean: it takes"),
        ({"action": ("steering",)}, "what its output steering float32[b, 3] means is not known"),
        ({"action": ("choice",)}, "its input image has no role; say --observation NAME, --state IN:OUT or --fix"),
        ({"action": ("steerin",)}, "--action steerin: policy.onnx has no such output; did you mean steering?"),
        ({"action": ("x",)}, "policy.onnx has no such output; it has steering, choice."),
        ({"observation": ("imagee",)}, "--observation imagee: policy.onnx has no such input; did you mean image?"),
        ({"observation": ("choice",)}, "--observation choice: policy.onnx has no such input"),
        ({"observation": BOTH, "meaning": ("q_values",)}, "--as q_values: expected numbers with fractions in choice"),
        ({"action": ("choice",), "meaning": ("best",)}, "--as best: expected one of action, q_values, logits, mean."),
        ({"action": ("choice",), "meaning": ("action",) * 2}, "--as: expected it once, or once for each of 1 --action"),
        ({"state": ("image",)}, "--state image: expected IN:OUT"),
        ({"state": ("image:nothing",)}, "--state nothing: policy.onnx has no such output"),
        ({"observation": ("command",), "state": ("image:choice",)}, "of one type, got float32 and int64"),
        ({"fixed": ("command=fast",)}, "--fix command=fast: expected NAME=NUMBER"),
        ({"fixed": ("command=inf",)}, "--fix command=inf: expected NAME=NUMBER"),
        ({"fixed": ("speed=1",)}, "--fix speed: policy.onnx has no such input"),
        ({"observation": ("image", "image", "command")}, "its input image has two roles"),
        ({"observation": BOTH, "fixed": ("command=1",)}, "its input command has two roles"),
        ({"fixed": ("image=1", "command=1"), "action": ("choice",)}, "it takes no observation"),
    ],
)
def test_what_does_not_fit_is_refused_with_one_sentence(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """It says what the file has, or how to say it."""
    file = _read(_two_inputs(), tmp_path)
    chosen = {"action": ("choice",), **options} if "observation" in options else options
    with pytest.raises(UsageError) as refusal:
        _found(file, TensorOptions(**chosen))
    assert sentence in str(refusal.value)


def test_a_whole_number_is_not_fixed_to_a_fraction(tmp_path: Path) -> None:
    """It would lose it without a word."""
    file = _read(onnx_forms.rllib(), tmp_path)
    with pytest.raises(UsageError, match=r"--fix seq_lens=0\.5: expected a whole number for seq_lens int"):
        _found(file, TensorOptions(meaning=("logits",), fixed=("seq_lens=0.5",)))


@pytest.mark.parametrize(("state", "notes"), [((), 1), (("state_ins:state_outs",), 0)])
def test_a_state_that_is_only_suggested_is_noted(state: tuple[str, ...], notes: int, tmp_path: Path) -> None:
    """Even where observation, action and meaning are given."""
    said = TensorOptions(("obs",), ("output",), ("logits",), state, ("seq_lens=1",))
    assert len(_found(_read(onnx_forms.rllib(), tmp_path), said)[1]) == notes


def test_a_name_may_hold_colons(tmp_path: Path) -> None:
    """TensorFlow's names do; the pair is parted where both are names."""
    g = Graph()
    g.add("Add", "obs:0", "h:0", output="h:1")
    g.add("Identity", "h:1", output="action")
    shape = ["b", 2]
    model = g.model([("obs:0", FLOAT, shape), ("h:0", FLOAT, shape)], [("action", FLOAT, shape), ("h:1", FLOAT, shape)])
    roles, _ = _found(_read(Form(model, {}), tmp_path), TensorOptions(("obs:0",), state=("h:0:h:1",)))
    assert [(one.taken, one.given) for one in roles.state] == [("h:0", "h:1")]
