"""What a game has to hand to a policy's file, and what it gets, for people.

In:      a manifest.
Out:     by the engine's name of a tensor, or of a part of one, what it stands for.
Refuses: a policy that the engine's file cannot be made of (ExportRefused).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from types import MappingProxyType

import numpy as np

from rlway_client.contract.game_actions import Part, Span
from rlway_client.contract.godot_tensors import OUTPUT, GodotTensors
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.model_files import GODOT_FILE, UNITY_FILE
from rlway_client.contract.nesting import places
from rlway_client.contract.specs import TensorSpec
from rlway_client.contract.unity_tensors import UnityObservation, UnityTensors

Lines = dict[str, str]


def unity_lines(manifest: Manifest) -> Lines:
    """Raises ExportRefused."""
    tensors, where = UnityTensors.of(manifest.interface), places(manifest.interface)
    lines = {given.name: _sensor(given, where) for given in tensors.observations}
    for name, parts in (("continuous_actions", tensors.continuous), ("discrete_actions", tensors.discrete)):
        at = 0
        for part in parts:
            for count, line in _groups(part, where):
                lines[f"{name}[{at}]" if count == 1 else f"{name}[{at}:{at + count}]"] = line
                at += count
    return lines


def godot_lines(manifest: Manifest) -> Lines:
    """Raises ExportRefused."""
    tensors, where = GodotTensors.of(manifest.interface), places(manifest.interface)
    lines = {}
    for key, spec in tensors.observations.items():
        rows = f", {spec.label} in row-major order" if len(spec.shape) > 1 else ""
        lines[key] = f"{_name(spec, where)}: {_numbers(spec.size)}{rows}"
    at = 0
    for part, size in tensors.columns:
        lines[f"{OUTPUT}[{at}:{at + size}]"] = "; ".join(line for _, line in _groups(part, where))
        at += size
    return lines


FILES: Mapping[str, Callable[[Manifest], Lines]] = MappingProxyType({UNITY_FILE: unity_lines, GODOT_FILE: godot_lines})


def _name(spec: TensorSpec, where: Mapping[str, str]) -> str:
    return where.get(spec.name, spec.name)


def _numbers(n: int) -> str:
    return f"{n} number{'s' * (n > 1)}"


def _sensor(given: UnityObservation, where: Mapping[str, str]) -> str:
    name, shape = _name(given.spec, where), given.shape
    if given.is_image:
        channels, height, width = shape
        scaled = f"0 to 1 for 0 to {given.scale:.0f}" if given.scale != 1 else "its numbers as they are"
        return f"{name}: an image, {channels} × {height} × {width} (channels first), {scaled}"
    return f"{name}: {_numbers(shape[0]) if len(shape) == 1 else f'{shape[0]} × {shape[1]} numbers'}"


def _groups(part: Part, where: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yields a line for neighbouring elements that are alike, with their number."""
    name, at = _name(part.spec, where), 0
    for meaning, alike in groupby(_meanings(part)):
        count = len(list(alike))
        first, last = (name + _place(i, part.spec) for i in (at, at + count - 1))
        yield count, f"{first}: {meaning}" if count == 1 else f"{first} to {last}: {meaning} each"
        at += count


def _meanings(part: Part) -> Iterator[str]:
    """Yields the range of each element, and what it stands for."""
    if isinstance(part, Span):
        ends = zip(part.middle - part.half, part.middle + part.half, part.is_bounded, strict=True)
        for low, high, is_bounded in ends:
            yield (
                f"−1 to 1 for {_signed(low)} to {_signed(high)}" if is_bounded else "its own value, which has no bounds"
            )
    else:
        for size, lowest in zip(part.sizes, part.lowest, strict=True):
            values = f" for {_signed(lowest)} to {_signed(lowest + size - 1)}" if lowest else ""
            yield f"0 to {size - 1}{values}"


def _signed(number: float) -> str:
    return f"{number:g}".replace("-", "−")


def _place(i: int, spec: TensorSpec) -> str:
    return "".join(f"[{n}]" for n in np.unravel_index(i, spec.shape)) if spec.shape else ""
