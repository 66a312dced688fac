"""What `rlway inspect` tells of checkpoints whose graph only code can build."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
from tf_agents.utils import common

from rlway_client.contract.errors import RunInvalid
from rlway_export.inspect.inspection import inspect_path
from tests.export import stock
from tests.export.inspect.alike import refused_alike

pytestmark = pytest.mark.slow


def test_checkpoints_without_a_graph_are_told_by_what_they_hold(tmp_path: Path) -> None:
    """As common.Checkpointer writes them: their agent, its networks, and that its code is needed. None is run."""
    step = tf.Variable(0, dtype=tf.int64)
    writer = common.Checkpointer(str(tmp_path / "ckpt"), max_to_keep=2, agent=stock.agent("sac"), global_step=step)
    for number in (100, 200):
        step.assign(number)
        writer.save(number)
    report = inspect_path(tmp_path / "ckpt")
    assert (report.kind, report.written.agent, report.train_step) == ("checkpoints", "SAC", 200)
    assert report.checkpoints is not None
    assert (report.checkpoints.numbers, report.checkpoints.exported) == ([100, 200], 200)
    assert report.contents["agent/_actor_network"] == 4 * 16 + 16 + 16 * 16 + 16 + 16 * 4 + 4
    assert "--agent MODULE:FUNCTION" in report.export.command
    assert "holds weights without a graph" in refused_alike(report, tmp_path / "ckpt", tmp_path / "models")
    (tmp_path / "ckpt/ckpt-200.index").write_bytes(b"\xff" * 100)
    with pytest.raises(RunInvalid, match="is a damaged checkpoint"):
        inspect_path(tmp_path / "ckpt")
