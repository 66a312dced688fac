"""What the original framework recorded, against the ONNX file that was made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client.contract.errors import ExportRefused, RlwayError, UsageError
from rlway_export.reference.onnx.policy import OnnxPolicy
from rlway_export.sources.onnx.source import OnnxSource
from rlway_export.sources.tensor_options import TensorOptions
from tests.export import onnx_forms
from tests.export.onnx_forms import Form

ROWS = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)


def _open(form: Form, folder: Path, **arrays: Any) -> OnnxPolicy:
    """The policy, once it has been compared with these arrays."""
    recorded = folder / "recorded.npz"
    np.savez(recorded, **arrays)
    path = onnx_forms.save(form, folder / "policy.onnx")
    return OnnxSource.open(path, "best", TensorOptions(reference=recorded)).materialize(folder)


def _logits(folder: Path) -> Any:
    path = onnx_forms.save(onnx_forms.cleanrl_ppo(), folder / "policy.onnx")
    policy = OnnxSource.open(path, "best", TensorOptions()).materialize(folder)
    return policy.run_act({"observation": ROWS, "noise": np.zeros((9, 2), np.float32)})["logits"]


@pytest.mark.parametrize(("taken", "given"), [("obs", "logits"), ("observation", "logits"), ("obs", "action")])
def test_a_file_that_answers_as_recorded_is_taken(taken: str, given: str, tmp_path: Path) -> None:
    """The arrays may have the names of the file or those of the contract."""
    logits = _logits(tmp_path)
    value = logits.argmax(axis=1) if given == "action" else logits
    assert _open(onnx_forms.cleanrl_ppo(), tmp_path, **{taken: ROWS, given: value}).interface.noise is not None


def test_other_answers_are_refused(tmp_path: Path) -> None:
    """By how much, and by how much they may."""
    with pytest.raises(ExportRefused, match=r"policy.onnx does not answer as recorded.npz recorded: logits differs by"):
        _open(onnx_forms.cleanrl_ppo(), tmp_path, obs=ROWS, logits=_logits(tmp_path) + 1e-3)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"logits": np.zeros((9, 2), np.float32)}, "has no array for observation"),
        ({"obs": ROWS}, "has no output to compare with; expected one of logits"),
        (
            {"obs": ROWS, "logits": np.zeros((8, 2))},
            r"logits: expected 9 rows of float32\[2\], got float64 of the shape",
        ),
        ({"obs": ROWS[:, :3], "logits": np.zeros((9, 2))}, r"observation: expected 9 rows of float32\[4\]"),
        ({"obs": ROWS[:0], "logits": np.zeros((0, 2))}, "observation: expected some rows"),
        ({"obs": ROWS, "logits": np.zeros((9, 2)), "reward": ROWS}, "its array reward is no tensor of the policy"),
        ({"obs": np.array([{}] * 9), "logits": np.zeros((9, 2))}, "cannot be read"),
        ({"obs": ROWS, "action": np.full(9, 0.5)}, "action: expected int64, got float64 with fractions"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """Each with the shape that was expected; pickled objects are not loaded."""
    with pytest.raises(UsageError, match=sentence):
        _open(onnx_forms.cleanrl_ppo(), tmp_path, **arrays)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    """What numpy.save writes has no names."""
    path = onnx_forms.save(onnx_forms.cleanrl_ppo(), tmp_path / "policy.onnx")
    np.save(tmp_path / "recorded.npy", ROWS)
    options = TensorOptions(reference=tmp_path / "recorded.npy")
    with pytest.raises(UsageError, match="cannot be read: it is one array, and no archive of arrays by name"):
        OnnxSource.open(path, "best", options).materialize(tmp_path)


def test_a_recorded_state_is_where_a_row_begins(tmp_path: Path) -> None:
    """Without one, each row is the first of an episode."""
    generator = np.random.default_rng(1)
    observed = generator.standard_normal((5, 6)).astype(np.float32)
    path = onnx_forms.save(onnx_forms.rsl_rl_lstm(), tmp_path / "policy.onnx")
    policy = OnnxSource.open(path, "best", TensorOptions()).materialize(tmp_path)
    state = {name: generator.standard_normal((5, 2, 8)).astype(np.float32) for name in ("state_h_in", "state_c_in")}
    for given, begins in ((state, False), ({name: np.zeros_like(value) for name, value in state.items()}, True)):
        answer = policy.run_act({"observation": observed, "reset": np.full(5, begins), **given})
        kept = {} if begins else given
        _open(onnx_forms.rsl_rl_lstm(), tmp_path, obs=observed, actions=answer["action"], **kept)
    with pytest.raises(RlwayError, match=r"actions|action"):
        _open(onnx_forms.rsl_rl_lstm(), tmp_path, obs=observed, actions=answer["action"], **state)
