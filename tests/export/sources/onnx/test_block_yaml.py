"""YAML as programs write it."""

from __future__ import annotations

from typing import Any

import pytest

from rlway_export.sources.onnx.block_yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("# nothing\n---\n", None),
        ("a: 1\nb: 2.5\nc: 1e-3\nd: -7", {"a": 1, "b": 2.5, "c": 1e-3, "d": -7}),
        ("a: true\nb: null\nc: ~\nd:\ne: 'true'", {"a": True, "b": None, "c": None, "d": None, "e": "true"}),
        ("a: [1, 'b c', [2, 3]]  # end", {"a": [1, "b c", [2, 3]]}),
        ("a: {b: 1, c: [x, y], 'd e': {}}", {"a": {"b": 1, "c": ["x", "y"], "d e": {}}}),
        ("a: [1,\n  2,\n  3]\nb: 4", {"a": [1, 2, 3], "b": 4}),
        ("a:\n- 1\n- b: 2\n  c: 3\n-\n- - 4\n  - 5", {"a": [1, {"b": 2, "c": 3}, None, [4, 5]]}),
        ("a:\n    b:\n        - x/y: z\nc: 2.9.1+cu128", {"a": {"b": [{"x/y": "z"}]}, "c": "2.9.1+cu128"}),
        (
            "system information:\n  os: Ubuntu 24.04\n  'cuda version': \"12.8\"",
            {"system information": {"os": "Ubuntu 24.04", "cuda version": "12.8"}},
        ),
        ("- a\n- b", ["a", "b"]),
        ("just text", "just text"),
    ],
)
def test_a_document_is_read_as_it_was_written(text: str, expected: Any) -> None:
    """Both styles, nested, with comments."""
    assert read_yaml(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: !!python/object/apply:os.system ['ls']",
        "a: |\n  text",
        "? a\n: b",
        "a: 1\na: 2",
        "a: [1, 2",
        "a: [1 2, {3}",
        "a: 'open",
        'a: "\\x41"',
        "\ta: 1",
        "a: 1\n   b: 2",
        "a:\n    b: 1\n  c: 2",
        "[" * 5000,
        "a: " + "[" * 100 + "]" * 100,
        "\n".join(" " * i + "a:" for i in range(100)),
        "x" * (1 << 21),
        "x" * 5000,
        "a: [" + "1,\n" * 2000 + "1]",
        "- " * 100 + "a",
    ],
)
def test_other_yaml_is_refused(text: str) -> None:
    """With the line, whatever it tries: no tags, no references, no bottomless nesting."""
    with pytest.raises(ValueError, match=r"line|at most"):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("a{}:\n", 50_000), ("- 1\n", 100_000), ("- - 1\n  - 2\n", 50_000), ("-\n", 200_000), ("- [1]\n", 100_000)],
)
def test_many_lines_are_read_one_after_the_other(text: str, size: int) -> None:
    """No line is copied once for each line before it, which would take minutes."""
    assert len(read_yaml("".join(text.format(i) for i in range(size)))) == size


def test_a_line_of_spaces_is_no_riddle() -> None:
    """Where a key ends is found without going back, however many spaces it has."""
    spaces = f"a{' ' * 4000}b\n" * 200
    with pytest.raises(ValueError, match=r"^line 2 is not indented like the others"):
        read_yaml(spaces)
    assert read_yaml("a b  : 1\n'c d' : 2") == {"a b": 1, "c d": 2}
