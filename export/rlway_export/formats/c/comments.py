"""Words of others within comments of C: names, units and environments may hold any characters."""

from __future__ import annotations


def comment(line: str) -> str:
    """The line, changed so that it neither ends a comment nor begins another."""
    return line.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ")
