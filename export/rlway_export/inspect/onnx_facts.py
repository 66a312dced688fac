"""What an ONNX file tells without being run.

In:      a file that was read and checked.
Out:     its facts, its signature, and the options with which `rlway export` takes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rlway_client.contract.errors import UsageError
from rlway_export.inspect.report import Onnx, Signature, Tensor
from rlway_export.reference.onnx.roles import StatePart
from rlway_export.sources.onnx.file import OWN, OnnxFile, nodes
from rlway_export.sources.onnx.recipes import Recipe, recognise
from rlway_export.sources.onnx.roles import find_roles
from rlway_export.sources.tensor_file import FileTensor
from rlway_export.sources.tensor_options import TensorOptions

MEANING = "MEANING"  # what the user has to say


def onnx_facts(file: OnnxFile) -> Onnx:
    """Its version, its operators, its form."""
    opset = next(one.version for one in file.model.opset_import if one.domain in OWN)
    operators = Counter(node.op_type for node in nodes(file.model.graph))
    recipe = recognise(file)
    library, possessive, _ = recipe.title.rpartition("'s")
    return Onnx(
        opset=opset,
        ir_version=file.model.ir_version,
        operators=dict(operators.most_common()),
        form=library if possessive else None,
        flags=_flags(file, recipe),
    )


def onnx_signature(file: OnnxFile) -> Signature:
    """What it takes and gives."""
    return Signature("", [_tensor(one) for one in file.inputs], [_tensor(one) for one in file.outputs])


def _flags(file: OnnxFile, recipe: Recipe) -> list[str]:
    """The options of `rlway export` that say what is known of the tensors; MEANING where that has to be added."""
    try:
        roles, _ = find_roles(file, TensorOptions())
    except UsageError:
        meanings = [*recipe.meaning, *[MEANING] * (len(recipe.action) - len(recipe.meaning))]
        parts = list(zip(recipe.action, meanings, strict=True))
        return _options(recipe.observation, parts, recipe.state, recipe.fixed)
    parts = [(one.tensor, one.meaning) for one in roles.action]
    return _options(roles.observation, parts, roles.state, roles.fixed)


def _options(
    observation: Sequence[str],
    action: Sequence[tuple[str, str]],
    state: Sequence[StatePart],
    fixed: Mapping[str, float],
) -> list[str]:
    options = [("--observation", name) for name in observation]
    for tensor, meaning in action:
        options += [("--action", tensor), ("--as", meaning)]
    options += [("--state", f"{part.taken}:{part.given}") for part in state]
    options += [("--fix", f"{name}={value:g}") for name, value in fixed.items()]
    return [word for option in options for word in option]


def _tensor(tensor: FileTensor) -> Tensor:
    return Tensor(tensor.name, tensor.dtype, None if tensor.shape is None else list(tensor.shape))
