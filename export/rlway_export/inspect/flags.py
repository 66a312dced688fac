"""The options of `rlway export` that say what a file's tensors are.

In:      a file whose tensors have names, the form that it has.
Out:     what the names suggest, as options; `MEANING` stands where only the user knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rlway_client.contract.errors import UsageError
from rlway_export.inspect.report import Signature, Tensor
from rlway_export.reference.roles import StatePart
from rlway_export.sources.named_policy import NamedTensors
from rlway_export.sources.recipe import Recipe, meaning_of, usual_names
from rlway_export.sources.roles import find_roles
from rlway_export.sources.tensor_file import FileTensor, TensorFile
from rlway_export.sources.tensor_options import NOTHING_SAID

MEANING = "MEANING"


def signature_flags(signature: Signature, path: Path) -> list[str]:
    """The options for a function that no library is known by; `path` is where it comes from."""
    sides = (signature.inputs, signature.outputs)
    tensors = NamedTensors(path, *([_tensor(one) for one in side] for side in sides))
    return find_flags(tensors, usual_names(tensors))


def find_flags(file: TensorFile, recipe: Recipe) -> list[str]:
    """The options, whether the names are enough for an export or not."""
    try:
        roles, _ = find_roles(file, NOTHING_SAID, recipe)
    except UsageError:
        given = {tensor.name: tensor for tensor in file.outputs}
        told = dict(zip(recipe.action, recipe.meaning, strict=False))
        action = [(name, told.get(name) or meaning_of(given[name]) or MEANING) for name in recipe.action]
        return _options(recipe.observation, action, recipe.state, recipe.fixed)
    action = [(one.tensor, one.meaning) for one in roles.action]
    return _options(roles.observation, action, roles.state, roles.fixed)


def _tensor(tensor: Tensor) -> FileTensor:
    return FileTensor(tensor.name, tensor.dtype, None if tensor.shape is None else tuple(tensor.shape))


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
