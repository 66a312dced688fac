"""A policy's graph may only compute: what touches anything else is refused before any of it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rlway_client.contract.errors import ExportRefused, RunInvalid
from rlway_export.graphs.safety import MOST_ELEMENTS
from rlway_export.reference.graph_policy import GraphPolicy
from tests.export import stock
from tests.export.graphs.ageing import changed
from tests.export.graphs.drawing import PUSH, Drawing, numbers

pytestmark = pytest.mark.slow


def writes(seen: Any, mark: str) -> Any:
    with tf.control_dependencies([tf.io.write_file(mark, "it ran")]):
        return numbers(seen, 2)


def reads(seen: Any, mark: str) -> Any:
    content = tf.strings.length(tf.io.read_file(mark))
    return numbers(seen, 2) + tf.cast(content, tf.float32)


def matches(seen: Any, mark: str) -> Any:
    return numbers(seen, 2) + tf.cast(tf.size(tf.io.matching_files(mark)), tf.float32)


def runs_python(seen: Any, mark: str) -> Any:
    def touch(values: Any) -> Any:
        Path(mark).touch()
        return values

    return tf.ensure_shape(tf.numpy_function(touch, [numbers(seen, 2)], tf.float32), [None, 2])


def prints(seen: Any, mark: str) -> Any:
    with tf.control_dependencies([tf.print("it ran", output_stream=f"file://{mark}")]):
        return numbers(seen, 2)


def reads_records(seen: Any, mark: str) -> Any:
    lines = tf.data.TextLineDataset(mark).reduce(0, lambda count, _: count + 1)
    return numbers(seen, 2) + tf.cast(lines, tf.float32)


def waits(seen: Any, mark: str) -> Any:
    del mark
    queue = tf.raw_ops.FIFOQueueV2(component_types=[tf.float32])
    (value,) = tf.raw_ops.QueueDequeueV2(handle=queue, component_types=[tf.float32])
    return numbers(seen, 2) + tf.reshape(value, [])


def in_a_branch(seen: Any, mark: str) -> Any:
    return tf.cond(seen[0, 0] > 9, lambda: writes(seen, mark), lambda: numbers(seen, 2))


def in_a_loop(seen: Any, mark: str) -> Any:
    return tf.while_loop(lambda i, _: i < 1, lambda i, _: (i + 1, writes(seen, mark)), [0, numbers(seen, 2)])[1]


def restores(seen: Any, mark: str) -> Any:
    (value,) = tf.raw_ops.RestoreV2(prefix=mark, tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32])
    return numbers(seen, 2) + tf.reduce_sum(value)


MORE_THAN_ARITHMETIC: dict[str, tuple[Callable[[Any, str], Any], str]] = {
    "writes a file": (writes, "WriteFile"),
    "reads a file": (reads, "ReadFile"),
    "lists files": (matches, "MatchingFiles"),
    "runs Python": (runs_python, "PyFunc"),
    "prints into a file": (prints, "PrintV2"),
    "reads lines": (reads_records, r"\w+Dataset\w*"),
    "waits for a queue": (waits, "QueueDequeueV2|FIFOQueueV2"),
    "writes in a branch": (in_a_branch, "WriteFile"),
    "writes in a loop": (in_a_loop, "WriteFile"),
    "restores a checkpoint": (restores, "RestoreV2"),
}


@pytest.mark.parametrize("case", MORE_THAN_ARITHMETIC)
def test_an_operation_that_touches_more_is_refused_before_it_runs(case: str, tmp_path: Path) -> None:
    """By its name, with the place in the graph."""
    act, operation = MORE_THAN_ARITHMETIC[case]
    mark = tmp_path / "mark"
    saved = stock.save(Drawing(PUSH, lambda seen: act(seen, str(mark))), tmp_path / "source")
    mark.unlink(missing_ok=True)
    with pytest.raises(ExportRefused, match=rf"is a (Eager)?({operation}), and a policy may only compute; save the"):
        GraphPolicy(saved, "touching")
    assert not mark.exists()


class Loading(tf.Module):  # type: ignore[misc]
    """A policy with a resource whose initializer, which TensorFlow runs when it loads the SavedModel, writes a file."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.table = tf.lookup.StaticHashTable(_Writing(mark), -1.0)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def action(self, seen: Any) -> Any:
        return self.table.lookup(tf.cast(seen, tf.int64))


class _Writing(tf.lookup.KeyValueTensorInitializer):  # type: ignore[misc]
    def __init__(self, mark: str) -> None:
        super().__init__([1], [2.0], tf.int64, tf.float32)
        self.mark = mark

    def initialize(self, table: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(self.mark, "it ran")]):
            return super().initialize(table)


def test_what_loading_would_run_is_checked_too(tmp_path: Path) -> None:
    """The initializer of a table."""
    mark = tmp_path / "mark"
    module = Loading(str(mark))
    module.action.get_concrete_function(tf.TensorSpec([None], tf.float32))
    tf.saved_model.save(module, str(tmp_path / "source"))
    mark.unlink(missing_ok=True)
    with pytest.raises(ExportRefused, match="is a WriteFile, and a policy may only compute"):
        GraphPolicy(tmp_path / "source", "loading")
    assert not mark.exists()


def test_functions_that_no_export_runs_may_do_anything(tmp_path: Path) -> None:
    """Such as those that save a SavedModel's variables, or a `log` of somebody's own."""
    mark = tmp_path / "mark"
    policy = stock.greedy("dqn")

    def log() -> None:
        tf.io.write_file(str(mark), "it ran")

    policy.log = tf.function(log, autograph=False)
    policy.log.get_concrete_function()
    graph = GraphPolicy(stock.save(policy, tmp_path / "source"), "logging")
    assert graph.run_act({"observation": np.zeros((3, 4), np.float32)})["action"].shape == (3,)
    assert not mark.exists()


def constant(change: Callable[[Any], None]) -> Callable[[Any], None]:
    """Changes a constant of the function that acts."""

    def apply(model: Any) -> None:
        for function in model.meta_graphs[0].graph_def.library.function:
            found = [
                node for node in function.node_def if node.op == "Const" and "action_fn" in function.signature.name
            ]
            for node in found[:1]:
                change(node)

    return apply


def grown(node: Any) -> None:
    tensor = node.attr["value"].tensor
    tensor.Clear()
    tensor.dtype = node.attr["dtype"].type = tf.float32.as_datatype_enum
    for _ in range(2):
        tensor.tensor_shape.dim.add().size = 2**20
    tensor.float_val.append(1.0)


def test_a_constant_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """One number in the file stands for all of its elements."""
    saved = stock.save(stock.greedy("dqn"), tmp_path / "saved")
    source = changed(saved, tmp_path / "source", constant(grown))
    expected = rf"its constant .*: expected at most {MOST_ELEMENTS:,} elements, got 1,099,511,627,776"
    with pytest.raises(ExportRefused, match=expected):
        GraphPolicy(source, "bomb")


def of_another_type(node: Any) -> None:
    node.attr["value"].tensor.dtype = tf.qint8.as_datatype_enum


def test_a_constant_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """A flipped bit is enough for it, and TensorFlow would end the process."""
    saved = stock.save(stock.greedy("dqn"), tmp_path / "saved")
    source = changed(saved, tmp_path / "source", constant(of_another_type))
    with pytest.raises(RunInvalid, match=r"its constant .* is damaged; save or copy it again"):
        GraphPolicy(source, "damaged")


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", "a/../../outside.txt"])
def test_an_asset_outside_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    """Its path is in the file, which anybody may have written."""

    def add(model: Any) -> None:
        model.meta_graphs[0].asset_file_def.add(filename=name)

    source = changed(stock.save(stock.greedy("dqn"), tmp_path / "saved"), tmp_path / "source", add)
    with pytest.raises(ExportRefused, match=r"its asset '.*' lies outside of its folder"):
        GraphPolicy(source, "assets")
