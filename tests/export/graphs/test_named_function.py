"""The signature that is exported from a SavedModel without `action`, and what TensorFlow 1's may not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from rlway_client.contract.errors import ExportRefused, RunInvalid
from rlway_export.graphs.named_function import NamedFunction, has_action, signatures
from rlway_export.graphs.saved_model import SavedModel, read_meta
from tests.export import networks, stock

pytestmark = pytest.mark.slow


def opened(folder: Path) -> NamedFunction:
    return NamedFunction.of_signature(folder, read_meta(folder, "saved"), "saved")


def doubled(obs: Any) -> dict[str, Any]:
    return {"twice": 2.0 * obs}


def several(folder: Path, **by_name: Any) -> Path:
    """A SavedModel with signatures of these names."""
    module = tf.Module()
    module.functions = {name: tf.function(one, input_signature=[networks.OBSERVATION]) for name, one in by_name.items()}
    tf.saved_model.save(module, str(folder), signatures=module.functions)
    return folder


def test_the_signature_for_serving_is_taken(tmp_path: Path) -> None:
    """Or the only one there is, whatever its name."""
    first = several(tmp_path / "first", other=lambda obs: {"once": obs}, serving_default=doubled)
    second = networks.signed(doubled, tmp_path / "second", key="policy")
    for folder in (first, second):
        found = opened(folder)
        assert [(leaf.name, leaf.shape, leaf.dtype) for leaf in found.inputs] == [("obs", (None, 4), "float32")]
        assert [leaf.name for leaf in found.outputs] == ["twice"]


def test_several_signatures_without_one_for_serving_are_refused(tmp_path: Path) -> None:
    """With their names."""
    folder = several(tmp_path / "saved", left=doubled, right=doubled)
    with pytest.raises(ExportRefused, match="expected one signature, or serving_default among several, got left, righ"):
        opened(folder)


def test_a_policy_of_tf_agents_has_an_action(tmp_path: Path) -> None:
    """By which it is known; a SavedModel with a signature of another name has none."""
    policy = read_meta(stock.save(stock.greedy("dqn"), tmp_path / "policy"), "saved")
    other = read_meta(networks.signed(doubled, tmp_path / "other"), "saved")
    assert (has_action(policy), has_action(other)) == (True, False)
    assert signatures(other) == ["serving_default"]


def test_a_function_of_some_inputs_has_the_others_as_constants(tmp_path: Path) -> None:
    """One value for every row where they have a batch."""
    specs = (networks.OBSERVATION, tf.TensorSpec([None, 2], tf.int32, name="mask"))
    folder = networks.signed(lambda obs, mask: {"sum": tf.reduce_sum(mask, 1), "obs": obs}, tmp_path / "saved", *specs)
    function = opened(folder).concrete(["obs"], ["sum"], {"mask": 3.0})
    assert function(tf.zeros([5, 4]))[0].numpy().tolist() == [6] * 5


def writes(folder: Path) -> Any:
    """An operation that would write a file."""
    return lambda: tf.io.write_file(str(folder / "written"), "here")


def test_a_saved_model_of_tensorflow_1_that_writes_a_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    """Its graph runs an operation of its own choice on loading."""
    folder = networks.version1(tmp_path / "saved", extra=writes(tmp_path))
    for load in (opened, lambda path: SavedModel.open(path, "saved")):
        with pytest.raises(ExportRefused, match="is a WriteFile, and a policy may only compute"):
            load(folder)
    assert not (tmp_path / "written").exists()


def test_a_saved_model_of_tensorflow_1_restores_only_its_own_variables(tmp_path: Path) -> None:
    """Those of another file would become part of the bundle."""

    def others() -> Any:
        return tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / "other"), tensor_names=["kernel"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0].op

    folder = networks.version1(tmp_path / "saved", extra=others)
    with pytest.raises(ExportRefused, match="is a RestoreV2, and a policy may only compute"):
        opened(folder)


def test_a_damaged_saved_model_of_tensorflow_1_is_refused(tmp_path: Path) -> None:
    """In one sentence with its name."""
    folder = networks.version1(tmp_path / "saved")
    for path in (folder / "variables").iterdir():
        path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(RunInvalid, match=r"^saved: cannot be loaded: "):
        opened(folder)
