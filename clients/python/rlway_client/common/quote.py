"""Other people's words within our sentences, so short that the sentence can still be read.

In:      names of a graph's nodes, which have hundreds of characters; exceptions of TensorFlow, onnxruntime and others.
Out:     their telling part, on one line.
"""

from __future__ import annotations

from collections.abc import Sequence

NAME, LIST, REASON = 60, 80, 110  # characters, so that a path and two of them fit into a sentence of 300


def short_name(name: str) -> str:
    """A name without its beginning, where it is long: the last parts say what a node does, and in which layer."""
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"


def named(names: Sequence[str]) -> str:
    """A list of names, without its end where it is long."""
    text = ", ".join(names)
    return text if len(text) <= LIST else f"{text[: LIST - 1]}… ({len(names)} in all)"


def reason(error: BaseException | str, most: int = REASON) -> str:
    """The first line with words in it, without the full stop of its end, for a sentence to go on."""
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    kind = "no reason given" if isinstance(error, str) else type(error).__name__
    first = next((line for line in lines if line), kind).rstrip(".:")
    return first if len(first) <= most else f"{first[: most - 1]}…"
