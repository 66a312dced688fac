"""Row and column format say the same, and so do the ways past and through FastAPI, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serve.protocols.tfs.asking import ROW
from tests.servers import Answer, Server, Wire, act_request

MODEST = settings(max_examples=150, derandomize=True, deadline=None, database=None)

NUMBERS = st.integers(-10, 10) | st.floats(-1e3, 1e3) | st.sampled_from([1e38, 1e39, 2**64, 10**40, float("nan")])
ANY = st.none() | st.booleans() | NUMBERS | st.text(max_size=3) | st.lists(NUMBERS, max_size=5)
SOUND_ROWS = st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4)
ROWS = SOUND_ROWS | st.lists(NUMBERS, min_size=4, max_size=4) | ANY
NAMES = st.sampled_from(["observation", "0/observation"])
FURTHER = st.fixed_dictionaries(
    {},
    optional={
        "0/step_type": st.sampled_from([0, 1, 2, 3]) | ANY,
        "0/reward": NUMBERS | ANY,
        "discount": NUMBERS,
        "noise": st.lists(NUMBERS, min_size=2, max_size=2),
        "seed": st.just(3),
    },
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(["serving_default", "action", "", "other"]),
        "output_filter": st.lists(st.sampled_from(["action", "q_values"]), max_size=2),
        "deadline_ms": st.sampled_from([60_000, 0, "x"]),
    },
)


@pytest.fixture(scope="module")
def wires(serving: Server) -> Iterator[list[Wire]]:
    with serving.connect() as one, serving.connect() as other:
        yield [one, other]


def ask(wires: list[Wire], body: dict[str, Any]) -> Answer:
    """The answer of both lanes, which is the same."""
    requests = [act_request(body, lane=lane, path="/v1/models/linear:predict") for lane in ("hot", "query")]
    for wire, request in zip(wires, requests, strict=True):
        wire.send(request)
    hot, app = (wire.answer() for wire in wires)
    assert hot == app
    assert hot.status in (200, 400)
    return hot


def agree(rows: Answer, columns: Answer) -> None:
    """Whether two answers hold the same results or are refused alike."""
    assert rows.status == columns.status
    if rows.status == 200:
        outputs = columns.json["outputs"]
        if isinstance(outputs, dict):
            outputs = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
        assert rows.json["predictions"] == outputs


@MODEST
@given(rows=st.lists(ROWS, min_size=1, max_size=3), options=OPTIONS)
def test_bare_rows_and_a_bare_column_are_answered_alike(
    wires: list[Wire], rows: list[Any], options: dict[str, Any]
) -> None:
    """The sole input without its name."""
    agree(ask(wires, {"instances": rows, **options}), ask(wires, {"inputs": rows, **options}))


@MODEST
@given(name=NAMES, rows=st.lists(ROWS, min_size=1, max_size=2), further=FURTHER, options=OPTIONS)
def test_named_rows_and_columns_are_answered_alike(
    wires: list[Wire], name: str, rows: list[Any], further: dict[str, Any], options: dict[str, Any]
) -> None:
    """With any further inputs, sound or not."""
    instances = [{name: row, **further} for row in rows]
    columns = {key: [row[key] for row in instances] for key in instances[0]}
    agree(ask(wires, {"instances": instances, **options}), ask(wires, {"inputs": columns, **options}))


def test_an_ordinary_request_is_among_those_compared(wires: list[Wire]) -> None:
    """Both formats answer it."""
    assert ask(wires, {"instances": [ROW]}).status == ask(wires, {"inputs": [ROW]}).status == 200
