"""The interface of a policy whose tensors have roles, and how its action is made of its outputs.

In:      the roles, the specs of what the policy takes, its outputs for a few rows, its own draws.
Out:     the `Interface`; the action of outputs and noise, in NumPy or in TensorFlow.
Refuses: outputs that do not fit their roles (ExportRefused).

Scores become a discrete action: the place of the largest sum of score and noise. Their noise comes after that of the
policy's own draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.exploration import draw_noise, sampling_explore
from rlway_client.contract.interface import Draw, Interface
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import DTYPES, AnyArray, TensorSpec
from rlway_export.reference.nest import KeyPath, names
from rlway_export.reference.roles import ActionPart, StatePart

NOISE = "noise"


def contract_names(title: str, tensors: list[str]) -> list[tuple[str, str, KeyPath]]:
    """Each tensor with its name and path in the contract; one alone has no path."""
    paths: list[KeyPath] = [(tensor,) if len(tensors) > 1 else () for tensor in tensors]
    return list(zip(tensors, names(title, paths), paths, strict=True))


def input_spec(name: str, shape: tuple[int, ...], dtype: str, path: KeyPath) -> TensorSpec:
    """Pixels have the bounds of their type; of other numbers none are known."""
    low, high = (0.0, 255.0) if dtype == "uint8" else (None, None)
    return TensorSpec(name, shape, dtype, low, high, path)


def action_specs(
    parts: list[ActionPart], given: Arrays, rows: int, name: str
) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """The parts of the action, and the scores of those that are chosen by scores; `name` is the policy in messages."""
    actions, scores = [], []
    named = contract_names("action", [part.tensor for part in parts])
    for part, (tensor, title, path) in zip(parts, named, strict=True):
        value = given[tensor]
        _check_action(part, value, rows, name)
        if part.is_scores:
            count = int(value.shape[1])
            actions.append(TensorSpec(title, (), "int64", 0.0, float(count - 1), path))
            scores.append(TensorSpec(part.meaning + title.removeprefix("action"), (count,), "float32"))
        else:
            actions.append(TensorSpec(title, value.shape[1:], str(value.dtype), path=path))
    return actions, scores


def check_state(part: StatePart, expected: tuple[int, ...], found: tuple[int, ...]) -> None:
    """Raises ExportRefused unless the next state has the shape of the state."""
    if found != expected:
        raise ExportRefused(
            f"--state: {short_name(part.given)}: expected the shape of the state that it becomes, {list(expected)}, "
            f"got {list(found)}."
        )


def make_interface(
    observation: list[TensorSpec],
    actions: list[TensorSpec],
    state: list[TensorSpec],
    scores: list[TensorSpec],
    own: list[Draw],
) -> Interface:
    """`own` are the draws of the policy itself, which come before those for the scores."""
    draws = [*own, *(Draw("gumbel", spec.size) for spec in scores)]
    noise = TensorSpec(NOISE, (sum(draw.size for draw in draws),), "float32") if draws else None
    # As the contract has it without a list of draws.
    is_plain = len(draws) == 1 and not own and all(spec.is_discrete for spec in actions)
    return Interface(observation, actions, noise, state, scores, (), [] if is_plain else draws)


def choose_action(
    parts: list[ActionPart], interface: Interface, given: dict[str, Any], noise: Any, library: Any
) -> dict[str, Any]:
    """The action and the scores by name, in NumPy or in TensorFlow. `noise` is that of the interface, or None."""
    found, scores = dict[str, Any](), iter(interface.outputs)
    start = sum(draw.size for draw in interface.noise_draws) - sum(spec.size for spec in interface.outputs)
    for part, spec in zip(parts, interface.actions, strict=True):
        value = given[part.tensor]
        if part.is_scores:
            told = next(scores)
            value = found[told.name] = _cast(value, told.dtype, library)
            drawn = 0 if noise is None else noise[:, start : start + told.size]
            value, start = library.argmax(value + drawn, -1), start + told.size
        found[spec.name] = _cast(value, spec.dtype, library)
    return found


def with_noise(interface: Interface, inputs: Arrays, seed: int) -> Arrays:
    """The inputs with noise as a policy draws it that samples, in place of their own."""
    draws = interface.noise_draws
    if not draws:
        return inputs
    generator = np.random.default_rng(seed)
    return inputs | {NOISE: draw_noise(sampling_explore(draws), rows_of(inputs), draws, generator)}


def _check_action(part: ActionPart, value: AnyArray, rows: int, name: str) -> None:
    tensor = short_name(part.tensor)
    if not value.ndim or len(value) != rows or 0 in value.shape or str(value.dtype) not in DTYPES:
        raise ExportRefused(
            f"{name}: {tensor}: expected an action for each of {rows} observations, got "
            f"{value.dtype}{list(value.shape)}; name another output with --action."
        )
    if part.is_scores and (value.ndim != 2 or value.shape[1] < 2):
        raise ExportRefused(
            f"--as {part.meaning}: expected a score for each of several actions in {tensor}, got the shape "
            f"{list(value.shape[1:])} for one observation; give --as action or --as mean."
        )


def _cast(value: Any, dtype: str, library: Any) -> Any:
    return value.astype(dtype) if library is np else library.cast(value, dtype)
