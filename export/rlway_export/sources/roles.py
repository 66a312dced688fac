"""The roles of a file's tensors: what the user said, and for the rest what the file's form says.

In:      a file, or a function, whose tensors have names; the user's options; the recipe that fits.
Out:     `Roles`, and notes on what was not said but assumed.
Refuses: names that the file does not have, tensors without a role, a meaning that does not fit its tensor (UsageError
         lists what the file takes and gives).
"""

from __future__ import annotations

import math
from typing import get_args

from rlway_client.common.quote import named, short_name
from rlway_client.common.suggest import near
from rlway_client.contract.errors import UsageError
from rlway_client.contract.specs import DTYPES
from rlway_export.reference.roles import ActionPart, Meaning, Roles, StatePart
from rlway_export.sources.recipe import Recipe, meaning_of
from rlway_export.sources.tensor_file import FileTensor, TensorFile
from rlway_export.sources.tensor_options import TensorOptions

MEANINGS = get_args(Meaning)


def find_roles(file: TensorFile, options: TensorOptions, recipe: Recipe) -> tuple[Roles, list[str]]:
    """A role for every input, and for the outputs that are wanted."""
    observation = [_known(file, "--observation", name, file.inputs).name for name in options.observation]
    state = [_state(file, pair) for pair in options.state]
    fixed = dict(_fixed(file, one) for one in options.fixed)
    said = {*observation, *(part.taken for part in state), *fixed}
    suggested = [] if state else [part for part in recipe.state if part.taken not in said]
    usual = {name: value for name, value in recipe.fixed.items() if name not in said}
    state, fixed = state or suggested, fixed | usual
    held = {part.taken for part in state} | set(fixed)
    left = [one.name for one in file.inputs if one.name not in held]
    observation = (
        observation or [name for name in recipe.observation if name not in held] or (left if len(left) == 1 else [])
    )
    roles = Roles(observation, _action(file, options, recipe), state, fixed)
    _check(file, roles)
    is_all_said = options.observation and options.action and options.meaning and not suggested and not usual
    return roles, [] if is_all_said else [_assumed(roles, recipe)]


def _action(file: TensorFile, options: TensorOptions, recipe: Recipe) -> list[ActionPart]:
    found = [_known(file, "--action", name, file.outputs) for name in options.action or recipe.action]
    if not found:
        raise UsageError(
            f"{file.path}: expected --action with the output that is the action, and --as {'|'.join(MEANINGS)}: "
            f"{file.signature}."
        )
    unknown = next((one for one in options.meaning if one not in MEANINGS), None)
    if unknown is not None:
        raise UsageError(f"--as {unknown[:40]}: expected one of {', '.join(MEANINGS)}.")
    told = dict(zip(recipe.action, recipe.meaning, strict=False))
    meanings: list[str] = list(options.meaning) or [told.get(one.name) or meaning_of(one) for one in found]
    if len(meanings) == 1:
        meanings *= len(found)
    if len(meanings) != len(found):
        raise UsageError(f"--as: expected it once, or once for each of {len(found)} --action, got {len(meanings)}.")
    untold = next((one for one, meaning in zip(found, meanings, strict=True) if not meaning), None)
    if untold is not None:
        raise UsageError(
            f"{file.path}: what its output {untold.label} means is not known; say it with --as: action, q_values or "
            f"logits of discrete actions, or the mean of a distribution."
        )
    valid = {one: one for one in MEANINGS}
    return [ActionPart(one.name, valid[meaning]) for one, meaning in zip(found, meanings, strict=True)]


def _known(file: TensorFile, option: str, name: str, tensors: list[FileTensor]) -> FileTensor:
    """The tensor of that name."""
    names = [tensor.name for tensor in tensors]
    if name not in names:
        alike = near(name, names)
        remedy = f"did you mean {' or '.join(map(short_name, alike))}?" if alike else f"it has {named(names)}."
        what = "input" if tensors is file.inputs else "output"
        raise UsageError(f"{option} {short_name(name)}: {file.path.name} has no such {what}; {remedy}")
    return tensors[names.index(name)]


def _state(file: TensorFile, pair: str) -> StatePart:
    """`IN:OUT`. A name may hold colons: of all ways to part the text, one must give two known names."""
    places = [i for i, letter in enumerate(pair) if letter == ":"]
    taken, given = [one.name for one in file.inputs], [one.name for one in file.outputs]
    parted = [(pair[:i], pair[i + 1 :]) for i in places]
    for before, after in parted:
        if before in taken and after in given:
            return StatePart(before, after)
    if not parted:
        raise UsageError(f"--state {short_name(pair)}: expected IN:OUT, an input and the output of its next value.")
    before, after = parted[0]
    _known(file, "--state", before, file.inputs)
    _known(file, "--state", after, file.outputs)
    raise UsageError(f"--state {short_name(pair)}: expected IN:OUT, an input and the output of its next value.")


def _fixed(file: TensorFile, pair: str) -> tuple[str, float]:
    name, _, number = pair.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not name or not math.isfinite(value):
        raise UsageError(f"--fix {short_name(pair)}: expected NAME=NUMBER, an input and the value that it always has.")
    tensor = _known(file, "--fix", name, file.inputs)
    if not tensor.dtype.startswith("float") and not value.is_integer():
        raise UsageError(f"--fix {short_name(pair)}: expected a whole number for {short_name(name)} {tensor.dtype}.")
    return name, value


def _check(file: TensorFile, roles: Roles) -> None:
    held = [*roles.observation, *(part.taken for part in roles.state), *roles.fixed]
    without = next((one.name for one in file.inputs if one.name not in held), None)
    if without is not None or not roles.observation:
        what = f"its input {short_name(without)} has no role" if without else "it takes no observation"
        raise UsageError(
            f"{file.path}: {what}; say --observation NAME, --state IN:OUT or --fix NAME=NUMBER: {file.signature}."
        )
    for names, what in ((held, "input"), ([part.given for part in roles.state], "output")):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"{file.path}: its {what} {short_name(twice)} has two roles; name it once.")
    inputs, outputs = ({one.name: one for one in side} for side in (file.inputs, file.outputs))
    for tensor in (*(inputs[name] for name in held), *(outputs[part.tensor] for part in roles.action)):
        if tensor.dtype not in DTYPES:
            raise UsageError(f"{file.path}: {short_name(tensor.name)}: expected numbers, got {tensor.dtype}.")
    for part in roles.state:
        before, after = inputs[part.taken].dtype, outputs[part.given].dtype
        if before != after:
            raise UsageError(
                f"--state {short_name(part.taken)}:{short_name(part.given)}: expected tensors of one type, got "
                f"{before} and {after}."
            )
    for action in roles.action:
        dtype = outputs[action.tensor].dtype
        if action.meaning != "action" and not dtype.startswith("float"):
            raise UsageError(
                f"--as {action.meaning}: expected numbers with fractions in {short_name(action.tensor)}, got {dtype}; "
                f"give --as action for what is an action already."
            )


def _assumed(roles: Roles, recipe: Recipe) -> str:
    """What was not told, for the manifest and for the user."""
    observed, chosen = named(roles.observation), named([f"{one.tensor} (as {one.meaning})" for one in roles.action])
    parts = [f"the observation is {observed}", f"the action {chosen}"]
    if roles.state:
        parts.append(f"the state {named([f'{one.taken}:{one.given}' for one in roles.state])}")
    if roles.fixed:
        parts.append(f"always {named([f'{name}={value:g}' for name, value in roles.fixed.items()])}")
    return f"taken as {recipe.title}: {', '.join(parts)}."
