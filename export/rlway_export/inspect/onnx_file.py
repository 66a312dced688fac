"""The report on an ONNX file of any library, or on a bundle of LEAPP.

In:      a path.
Out:     `Report`.
Refuses: what is no ONNX file, or a damaged one (RunInvalid).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rlway_export.inspect.file_time import file_time
from rlway_export.inspect.flags import find_flags
from rlway_export.inspect.memory import memory, onnx_weights
from rlway_export.inspect.report import Onnx, Report, Signature, Tensor, Written
from rlway_export.inspect.trial import Trial
from rlway_export.sources.onnx.file import OnnxFile, nodes, read_onnx
from rlway_export.sources.onnx.leapp import leapp_file, read_leapp
from rlway_export.sources.onnx.recipes import recognise
from rlway_export.sources.tensor_file import FileTensor


def onnx_report(path: Path) -> Report:
    """What the file says, and what an export makes of it."""
    pipeline = leapp_file(path)
    file = read_onnx(path) if pipeline is None else read_leapp(pipeline).file
    recipe = recognise(file)
    library, is_known, _ = recipe.title.rpartition("'")  # of a library's form, the title is its genitive
    title = f"an ONNX file in the form of {library}" if is_known else "an ONNX file"
    trial = Trial.of(path)
    return Report(
        path=str(path),
        kind="ONNX",
        title=title if pipeline is None else "a bundle of LEAPP",
        written=Written(
            by=file.producer or None,
            version=f"opset {file.opset}",
            file_time=file_time(pipeline or path),
        ),
        signatures=[Signature("", *(_tensors(side) for side in (file.inputs, file.outputs)))],
        policy=trial.policy,
        saved_rows=trial.source_rows,
        exported_rows=trial.rows,
        memory=memory(onnx_weights(file.model), trial.model),
        onnx=Onnx(opset=file.opset, ir_version=file.model.ir_version, operators=_operators(file)),
        export=trial.export(path, find_flags(file, recipe) if pipeline is None else ()),
    )


def _operators(file: OnnxFile) -> dict[str, int]:
    return dict(Counter(node.op_type for node in nodes(file.model.graph)).most_common())


def _tensors(tensors: list[FileTensor]) -> list[Tensor]:
    return [Tensor(one.name, one.dtype, None if one.shape is None else list(one.shape)) for one in tensors]
