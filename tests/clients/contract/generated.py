"""Specs that hypothesis generates, and how many examples it tries."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rlway_client import TensorSpec

THOROUGH = settings(max_examples=100, derandomize=True, deadline=None, database=None)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=20)
DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint64", "bool"]


@st.composite
def specs(draw: st.DrawFn, names: st.SearchStrategy[str] = TEXT) -> TensorSpec:
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    bound = st.none() | FINITE | st.lists(st.none() | FINITE, min_size=math.prod(shape), max_size=math.prod(shape))
    path = tuple(draw(st.lists(TEXT, max_size=2)))
    return TensorSpec(draw(names), shape, draw(st.sampled_from(DTYPES)), draw(bound), draw(bound), path)


def some_specs(kind: str, most: int, least: int = 0) -> st.SearchStrategy[list[TensorSpec]]:
    """Tensors with different names and paths."""

    def apart(found: list[TensorSpec]) -> list[TensorSpec]:
        return [replace(spec, name=f"{kind}_{i}{spec.name}", path=(str(i), *spec.path)) for i, spec in enumerate(found)]

    return st.lists(specs(), min_size=least, max_size=most).map(apart)
