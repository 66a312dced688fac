"""Shortens names and errors of other libraries, so that a sentence that quotes them can still be read.

In:      names of a graph's nodes, which have hundreds of characters; exceptions of TensorFlow, onnxruntime and others.
Out:     the part that says most, on one line.
"""

from __future__ import annotations

from collections.abc import Sequence

NAME, LIST, REASON, TEXT = 60, 80, 110, 120  # characters, so that a path and two of them fit into a sentence of 300


def short_name(name: str) -> str:
    """The name. A long one loses its beginning: its last parts say what a node does, and in which layer."""
    safe = _visible(name)
    return safe if len(safe) <= NAME else f"…{safe[1 - NAME :]}"


def named(names: Sequence[str]) -> str:
    """The names as a list, which is cut at its end if it is long."""
    text = _visible(", ".join(names))
    return text if len(text) <= LIST else f"{text[: LIST - 1]}… ({len(names)} in all)"


def clipped(text: object) -> str:
    """Any text on one line, which is cut at its end if it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= TEXT else f"{line[: TEXT - 1]}…"


def reason(error: BaseException | str, most: int = REASON) -> str:
    """The first line that is not blank, without a full stop, so that a sentence can go on after it."""
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    kind = "no reason given" if isinstance(error, str) else type(error).__name__
    first = next((line for line in lines if line), kind).rstrip(".:")
    return first if len(first) <= most else f"{first[: most - 1]}…"


def _visible(text: str) -> str:
    """The text with a sign for each letter that cannot be seen: a name in a damaged file may hold anything."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
