"""Reads the YAML that programs write for other programs: nested mappings and lists of plain values.

In:      text in the block style of YAML's usual writers, with lists in brackets.
Out:     dicts, lists, strings, numbers, booleans and None.
Refuses: everything else of YAML, such as tags, anchors and texts over several lines; long lines, deep nesting
         (ValueError names the line).

No YAML library is needed for so little, and nothing in such a file can build objects or repeat itself. The time to read
it grows with its length, whatever it holds.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, NamedTuple

MOST_BYTES = 1 << 20
DEEPEST = 32  # levels of nesting
LONGEST = 1 << 12  # characters of a line, also of one that goes on in the next lines
KEY = re.compile(
    r"""(?P<key>"[^"]*"\s*|'[^']*'\s*|[^\s\[\]{}"'#&*!|>%@`-][^\[\]{}"'#]*?|-[^\s].*?):(?=\s|$)(?P<rest>.*)"""
)
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
OTHER = ("&", "*", "!", "|", ">", "%", "@", "`", "? ")


class _Line(NamedTuple):
    number: int
    indent: int
    text: str


def read_yaml(text: str) -> Any:
    """The document's value."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES} bytes")
    lines = _lines(text)
    if not lines:
        return None
    value = _block(lines, lines[0].indent, 0)
    if lines:
        raise ValueError(f"line {lines[0].number} is not indented like the others")
    return value


def _lines(text: str) -> deque[_Line]:
    """The lines with content; one whose brackets are open goes on in the next."""
    lines: deque[_Line] = deque()
    opened = 0
    for number, raw in enumerate(text.splitlines(), 1):
        content = raw.split(" #")[0].rstrip() if not raw.lstrip().startswith("#") else ""
        if "\t" in raw[: len(raw) - len(raw.lstrip())]:
            raise ValueError(f"line {number} is indented by tabs")
        if not content.strip() or content in ("---", "..."):
            continue
        if opened > 0:
            last = lines.pop()
            line = last._replace(text=f"{last.text} {content.strip()}")
            opened += _opened(content)
        else:
            line = _Line(number, len(content) - len(content.lstrip()), content.strip())
            opened = _opened(content)
        if line.indent + len(line.text) > LONGEST:
            raise ValueError(f"line {line.number} has more than {LONGEST} characters")
        lines.append(line)
    return lines


def _opened(text: str) -> int:
    """How many more brackets it opens than it closes."""
    plain = re.sub(r"\"[^\"]*\"|'[^']*'", "", text)
    return sum(plain.count(one) for one in "[{") - sum(plain.count(one) for one in "]}")


def _block(lines: deque[_Line], indent: int, depth: int) -> Any:
    """The value of the lines with this indentation, which it takes from `lines`."""
    first = lines[0]
    if depth > DEEPEST:
        raise ValueError(f"line {first.number} is nested too deeply")
    if _is_item(first):
        return _sequence(lines, indent, depth)
    if KEY.fullmatch(first.text):
        return _mapping(lines, indent, depth)
    lines.popleft()
    return _flow(first.text, first.number)


def _is_item(line: _Line) -> bool:
    return line.text == "-" or line.text.startswith("- ")


def _sequence(lines: deque[_Line], indent: int, depth: int) -> list[Any]:
    found: list[Any] = []
    while lines and lines[0].indent == indent and _is_item(lines[0]):
        first = lines.popleft()
        inner = first.text[1:].lstrip()
        if inner:
            lines.appendleft(_Line(first.number, indent + len(first.text) - len(inner), inner))
        elif not lines or lines[0].indent <= indent:
            found.append(None)
            continue
        found.append(_block(lines, lines[0].indent, depth + 1))
    return found


def _mapping(lines: deque[_Line], indent: int, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while lines and lines[0].indent == indent:
        line = lines.popleft()
        matched = KEY.fullmatch(line.text)
        if matched is None:
            raise ValueError(f"line {line.number}: expected KEY: VALUE, got {line.text[:40]!r}")
        key, rest = matched["key"].strip().strip("\"'"), matched["rest"].strip()
        if key in found:
            raise ValueError(f"line {line.number}: {key[:40]!r} is there twice")
        if rest:
            found[key] = _flow(rest, line.number)
        elif lines and (lines[0].indent > indent or (lines[0].indent == indent and lines[0].text.startswith("-"))):
            found[key] = _block(lines, lines[0].indent, depth + 1)
        else:
            found[key] = None
    return found


def _flow(text: str, number: int) -> Any:
    """A value within one line."""
    value, rest = _value(text, number, 0)
    if rest.strip():
        raise ValueError(f"line {number}: expected one value, got {text[:40]!r}")
    return value


def _value(text: str, number: int, depth: int) -> tuple[Any, str]:
    text = text.lstrip()
    if depth > DEEPEST or text.startswith(OTHER):
        raise ValueError(f"line {number}: {text[:40]!r} is YAML that is not read here")
    if text.startswith(("[", "{")):
        return _brackets(text, number, depth)
    if text[:1] in ('"', "'"):
        end = text.find(text[0], 1)
        if end < 0 or "\\" in text[:end]:
            raise ValueError(f"line {number}: {text[:40]!r} is YAML that is not read here")
        return text[1:end], text[end + 1 :]
    if not depth:
        return _scalar(text), ""
    after = re.search(r"[,\]}]|:\s", text)
    cut = after.start() if after else len(text)
    return _scalar(text[:cut].strip()), text[cut:]


def _brackets(text: str, number: int, depth: int) -> tuple[Any, str]:
    is_list, closing = text[0] == "[", "]" if text[0] == "[" else "}"
    items: list[Any] = []
    pairs: dict[str, Any] = {}
    text = text[1:].lstrip()
    while not text.startswith(closing):
        value, text = _value(text, number, depth + 1)
        text = text.lstrip()
        if is_list:
            items.append(value)
        elif text.startswith(":"):
            pairs[str(value)], text = _value(text[1:], number, depth + 1)
            text = text.lstrip()
        if not text.startswith((",", closing)):
            raise ValueError(f"line {number}: expected , or {closing}, got {text[:20]!r}")
        text = text.removeprefix(",").lstrip()
    return items if is_list else pairs, text[1:]


def _scalar(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if NUMBER.fullmatch(text):
        return float(text) if any(letter in text for letter in ".eE") else int(text)
    return text
