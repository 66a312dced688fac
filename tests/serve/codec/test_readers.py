"""The two readers of act requests agree: what only the slow one reads is what the fast one would have read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rlway_client.contract.errors import RequestMalformed, SpecViolated
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import DTYPES, AnyArray, TensorSpec
from rlway_serve.codec.decoder import ActDecoder, read_pin
from rlway_serve.codec.observation import ObservationForm
from rlway_serve.messages.request import Pin
from rlway_serve.settings import Settings
from tests.callers import Receiving

THOROUGH = settings(max_examples=300, derandomize=True, deadline=None, database=None)
SETTINGS = Settings(models=Path(), max_rows=64)
KEYS = ["observation", "observation/state", "robot/joint.pos", "ünï", "", "f0", "a b", '"', "0", "1"]
WIDTHS: dict[str, Any] = {"float16": {"width": 16}, "float32": {"width": 32}, "float64": {}}
BYTE_ORDER_MARK = "\ufeff"


@st.composite
def leaves(draw: st.DrawFn) -> TensorSpec:
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    spec = TensorSpec("observation", shape, draw(st.sampled_from(DTYPES)))
    if spec.is_discrete and draw(st.booleans()):
        return replace(spec, lookup_minimum=1, lookup_maximum=100)
    return spec


def trees() -> st.SearchStrategy[Any]:
    """Specs, in dicts by any keys and in tuples."""

    def within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=3) | st.lists(
            inner, min_size=1, max_size=3
        ).map(tuple)

    return st.recursive(leaves(), within, max_leaves=4)


def flatten(tree: Any, path: tuple[str, ...] = ()) -> list[TensorSpec]:
    if isinstance(tree, TensorSpec):
        return [replace(tree, path=path)]
    parts = enumerate(tree) if isinstance(tree, tuple) else tree.items()
    return [spec for key, part in parts for spec in flatten(part, (*path, str(key)))]


def manifest(specs: list[TensorSpec]) -> Manifest:
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy="any",
        version=1,
        algorithm=None,
        env=None,
        observation=[replace(spec, name=f"input_{i}") for i, spec in enumerate(specs)],
        action=TensorSpec("action", (), "int64", 0, 1),
        noise=None,
    )


@st.composite
def values(draw: st.DrawFn, spec: TensorSpec) -> AnyArray:
    kind, dtype = spec.numpy_dtype.kind, spec.numpy_dtype
    size = max(1, spec.size)
    if kind == "b":
        element: st.SearchStrategy[Any] = st.booleans()
    elif spec.is_lookup:
        element = st.integers(1, 100)
    elif kind == "f":
        element = st.floats(allow_nan=False, allow_infinity=False, **WIDTHS[spec.dtype]) | st.integers(-9, 9)
    else:
        limits = np.iinfo(spec.dtype)
        element = st.integers(int(limits.min), int(limits.max)) | st.sampled_from([int(limits.min), int(limits.max), 0])
    return np.array(draw(st.lists(element, min_size=size, max_size=size)), dtype).reshape(spec.shape)


class Writer:
    """Writes an observation as JSON; `loosely` in the ways that only the slow reader takes."""

    def __init__(self, data: st.DataObject, loosely: bool) -> None:
        self._data = data
        self._loosely = loosely

    def write(self, tree: Any, row: dict[tuple[str, ...], AnyArray], path: tuple[str, ...] = ()) -> str:
        if isinstance(tree, TensorSpec):
            return self._write_array(row[path].tolist())
        keys = [str(i) for i in range(len(tree))] if isinstance(tree, tuple) else list(tree)
        parts = tree if isinstance(tree, tuple) else tree.values()
        written = {key: self.write(part, row, (*path, key)) for key, part in zip(keys, parts, strict=True)}
        if isinstance(tree, tuple) and self._may():
            return "[" + ",".join(written.values()) + "]"
        order = self._data.draw(st.permutations(keys))
        return "{" + ", ".join(f"{json.dumps(key)}: {written[key]}" for key in order) + "}"

    def _write_array(self, value: Any) -> str:
        if isinstance(value, list):
            return "[" + ",".join(map(self._write_array, value)) + "]"
        if type(value) is int and abs(value) < 2**64 and self._may() and float(value) == value:
            return self._data.draw(st.sampled_from([f"{value}.0", f"{value}e0", f"{value}.00"]))
        if type(value) is float and value.is_integer() and abs(value) < 2**53 and self._data.draw(st.booleans()):
            return str(int(value))
        return json.dumps(value)

    def _may(self) -> bool:
        return self._loosely and self._data.draw(st.booleans())


@THOROUGH
@given(tree=trees(), loosely=st.booleans(), data=st.data())
def test_what_was_written_is_what_is_read(tree: Any, loosely: bool, data: st.DataObject) -> None:
    """For any spec and any values of its dtypes, however JSON may write them; numpy has the values."""
    specs = manifest(flatten(tree)).observation
    decoder, form = ActDecoder(manifest(flatten(tree)), SETTINGS), ObservationForm(specs)
    rows = [{spec.path: data.draw(values(spec)) for spec in specs} for _ in range(data.draw(st.integers(1, 3)))]
    writer = Writer(data, loosely)
    texts = [writer.write(tree, row) for row in rows]
    batched = len(rows) > 1 or data.draw(st.booleans())
    body = f'{{"observations": [{", ".join(texts)}]}}' if batched else f'{{"observation": {texts[0]}}}'
    if loosely and data.draw(st.booleans()):
        body = BYTE_ORDER_MARK + body
    call = decoder.decode(b"application/json", body.encode(), Receiving())
    assert (call.rows, call.batched) == (len(rows), batched)
    assert decoder.faults(call) == []
    for name, array in form.stack([call.observations]).items():
        path = next(spec.path for spec in specs if spec.name == name)
        expected = np.stack([row[path] for row in rows])
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


@THOROUGH
@given(tree=trees(), data=st.data())
def test_a_value_that_does_not_fit_is_named_by_both_readers(tree: Any, data: st.DataObject) -> None:
    """One wrong value among sound ones: its path is told, whether or not the rest is loosely written."""
    specs = flatten(tree)
    decoder = ActDecoder(manifest(specs), SETTINGS)
    row = {spec.path: data.draw(values(spec)) for spec in specs}
    wrong = data.draw(st.sampled_from(specs))
    kind = wrong.numpy_dtype.kind
    bad: list[Any] = ["x", None, [], {}, float("nan"), float("inf"), 10**400]
    further: dict[str, list[Any]] = {"b": [0, 1.0], "f": [True, 10**309]}
    bad += further.get(kind, [0.5, 2**64, True, -(2**63) - 1, 1e300])
    if wrong.is_lookup:
        bad += [0, 101, 101.0]
    place = data.draw(st.integers(0, max(1, wrong.size) - 1))
    index = tuple(int(i) for i in np.unravel_index(place, wrong.shape)) if wrong.shape else ()
    spoilt = row[wrong.path].astype(object)
    spoilt[index] = value = data.draw(st.sampled_from(bad))
    paths = []
    for loosely in (False, True):
        text = Writer(data, loosely).write(tree, {**row, wrong.path: spoilt})
        body = f'{{"observation": {text}}}'.encode()
        try:
            call = decoder.decode(b"application/json", body, Receiving())
        except SpecViolated as violation:
            paths.append([fault.path for fault in violation.faults])
        else:
            paths.append([fault.path for fault in decoder.faults(call)])
    keys = "".join(f"[{json.dumps(key, ensure_ascii=False)}]" for key in wrong.path)
    where = "observation" + keys + "".join(f"[{i}]" for i in index)
    assert paths == [[where]] * 2 or (value in ([], {}) and paths[0] == paths[1] and paths[0]), (value, paths)


def test_a_tuple_of_many_parts_is_read_in_its_order() -> None:
    """Training sorts keys as text, "10" before "2"; the parts of an array keep their places."""
    order = sorted(str(i) for i in range(12))
    specs = [TensorSpec(f"part_{key}", (), "int64", path=(key,)) for key in order]
    decoder, form = ActDecoder(manifest(specs), SETTINGS), ObservationForm(manifest(specs).observation)
    body = json.dumps({"observation": list(range(12))}).encode()
    arrays = form.stack([decoder.decode(b"", body, Receiving()).observations])
    assert [int(array[0]) for array in arrays.values()] == [int(key) for key in order]


PINNED: list[dict[str, Any]] = [
    {"version": 2},
    {"version": -1},
    {"label": "canary"},
    {"label": "\ud800"},
    {"label": "é"},
    {"episode": "\udfff", "first": True},
    {"episode": "e", "first": False},
    {"version": None, "label": "x"},
    {"first": True},
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "latin-1"]


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("options", PINNED, ids=str)
def test_no_option_is_dropped_without_a_word(options: dict[str, Any], encoding: str, escaped: bool) -> None:
    """Whatever a body is written in, the version, label or episode that it names is honoured, or the body refused."""
    decoder = ActDecoder(manifest([TensorSpec("observation", (2,), "int64")]), SETTINGS)
    for observation in ([1, 2], [1.0, 2]):
        text = json.dumps({"observation": observation, **options}, ensure_ascii=escaped)
        body = text.encode(encoding, "surrogatepass" if encoding != "latin-1" else "replace")
        pin = read_pin(b"application/json", body, SETTINGS.max_json_bytes)
        try:
            decoder.decode(b"application/json", body, Receiving())
        except RequestMalformed:
            continue
        if encoding == "latin-1":
            text = body.decode()
        named = json.loads(text)
        assert pin == Pin(**{name: named[name] for name in options})


@pytest.mark.parametrize(
    "body",
    [
        b'{"observation": [1, 2], "version": 1.0}',
        b'{"observation": [1, 2], "version": "1"}',
        b'{"observation": [1, 2], "first": 1}',
        b'{"observation": [1, 2], "label": ["x"]}',
        rb'{"observation": [1, 2], "version": "\ud800"}',
        rb'{"observation": [1, 2], "\ud800": 1}',
    ],
)
def test_an_option_of_another_type_is_refused(body: bytes) -> None:
    """By the version that would have answered, had none been named."""
    decoder = ActDecoder(manifest([TensorSpec("observation", (2,), "int64")]), SETTINGS)
    assert read_pin(b"", body, 1000) == Pin()
    with pytest.raises(RequestMalformed):
        decoder.decode(b"", body, Receiving())
