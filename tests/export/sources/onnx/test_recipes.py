"""Which form an ONNX file has, and the roles that it suggests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlway_client.contract.errors import UsageError
from rlway_export.reference.roles import Roles
from rlway_export.sources.onnx.file import OnnxFile, read_onnx
from rlway_export.sources.onnx.recipes import recognise
from rlway_export.sources.roles import find_roles
from rlway_export.sources.tensor_options import TensorOptions
from tests.export import onnx_forms
from tests.export.onnx_forms import Form


def _read(form: Form, folder: Path) -> OnnxFile:
    return read_onnx(onnx_forms.save(form, folder / "policy.onnx"))


def _found(file: OnnxFile, options: TensorOptions) -> tuple[Roles, list[str]]:
    return find_roles(file, options, recognise(file))


@pytest.mark.parametrize(
    ("form", "note"),
    [
        (onnx_forms.sb3_ppo, "stable-baselines3's: the observation is input, the action actions (as action)."),
        (onnx_forms.cleanrl_ppo, "its names suggest: the observation is obs, the action logits (as logits)."),
        (onnx_forms.rsl_rl, "rsl_rl's: the observation is obs, the action actions (as mean)."),
        (onnx_forms.torchrl, "its names suggest: the observation is observation, the action action (as action)."),
    ],
)
def test_a_known_form_needs_no_options(form: Callable[[], Form], note: str, tmp_path: Path) -> None:
    """A note says what was assumed."""
    _, notes = _found(_read(form(), tmp_path), TensorOptions())
    assert notes == [f"taken as {note}"]


def test_the_recipe_of_ml_agents_takes_what_is_not_drawn(tmp_path: Path) -> None:
    """And allows every action, as the masks of its discrete actions are not observed."""
    roles, _ = _found(_read(onnx_forms.ml_agents(), tmp_path), TensorOptions())
    assert roles.observation == ["obs_0", "obs_1"]
    assert [one.tensor for one in roles.action] == [
        "deterministic_continuous_actions",
        "deterministic_discrete_actions",
    ]
    assert roles.fixed == {"action_masks": 1.0}


def test_the_recipe_of_rllib_leaves_the_meaning_to_the_user(tmp_path: Path) -> None:
    """Its `output` may be logits, Q-values, or the parameters of a distribution."""
    file = _read(onnx_forms.rllib(), tmp_path)
    with pytest.raises(UsageError, match=r"what its output output float32.* means is not known; say it with --as"):
        _found(file, TensorOptions())
    roles, _ = _found(file, TensorOptions(meaning=("logits",)))
    assert [(one.taken, one.given) for one in roles.state] == [("state_ins", "state_outs")]
    assert roles.fixed == {"seq_lens": 1.0}
