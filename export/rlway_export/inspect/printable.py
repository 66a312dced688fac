"""Text of somebody's file, made safe for a terminal.

In:      names and sentences, which may hold anything.
Out:     the same without what a terminal would act on.
"""

from __future__ import annotations

LONGEST = 60  # characters of a name


def printable(text: str) -> str:
    """The text with a sign in place of every letter that is no letter to see."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def short(name: str) -> str:
    """A name that leaves room for others on its line."""
    safe = printable(name)
    return safe if len(safe) <= LONGEST else f"{safe[: LONGEST - 1]}…"
