"""The report on an ONNX file of any library.

In:      a path.
Out:     `Report`.
Refuses: what is no ONNX file, or a damaged one (RunInvalid).
"""

from __future__ import annotations

from pathlib import Path

from rlway_export.inspect.file_time import file_time
from rlway_export.inspect.memory import memory, onnx_weights
from rlway_export.inspect.onnx_facts import onnx_facts, onnx_signature
from rlway_export.inspect.report import Report, Written
from rlway_export.inspect.trial import Trial
from rlway_export.sources.onnx.file import read_onnx


def onnx_report(path: Path) -> Report:
    """What the file says, and what an export makes of it."""
    file = read_onnx(path)
    facts = onnx_facts(file)
    trial = Trial.of(path)
    form = f" in the form of {facts.form}" if facts.form else ""
    return Report(
        path=str(path),
        kind="ONNX",
        title=f"an ONNX file{form}",
        written=Written(
            by=file.producer or None,
            version=f"opset {facts.opset}",
            file_time=file_time(path),
            agent=facts.form,
            agent_seen="the names of its tensors" if facts.form else None,
        ),
        signatures=[onnx_signature(file)],
        policy=trial.policy,
        saved_rows=trial.source_rows,
        exported_rows=trial.rows,
        memory=memory(onnx_weights(file.model), trial.model),
        onnx=facts,
        export=trial.export(path, facts.flags if trial.refused else ()),
    )
