"""Reads the YAML that programs write for other programs: nested mappings and lists of plain values.

In:      text in the block style of YAML's usual writers, with lists in brackets.
Out:     dicts, lists, strings, numbers, booleans and None.
Refuses: everything else of YAML, such as tags, anchors and texts over several lines (ValueError names the line).

No YAML library is needed for so little, and nothing in such a file can build objects or repeat itself.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

MOST_BYTES = 1 << 20
DEEPEST = 32  # levels of nesting
KEY = re.compile(
    r"""(?P<key>"[^"]*"|'[^']*'|[^\s\[\]{}"'#&*!|>%@`-][^\[\]{}"'#]*?|-[^\s].*?)\s*:(?=\s|$)(?P<rest>.*)"""
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
    value, rest = _block(lines, lines[0].indent, 0)
    if rest:
        raise ValueError(f"line {rest[0].number} is not indented like the others")
    return value


def _lines(text: str) -> list[_Line]:
    """The lines with content; one whose brackets are open goes on in the next."""
    lines: list[_Line] = []
    for number, raw in enumerate(text.splitlines(), 1):
        content = raw.split(" #")[0].rstrip() if not raw.lstrip().startswith("#") else ""
        if "\t" in raw[: len(raw) - len(raw.lstrip())]:
            raise ValueError(f"line {number} is indented by tabs")
        if not content.strip() or content in ("---", "..."):
            continue
        if lines and _open(lines[-1].text) > 0:
            lines[-1] = lines[-1]._replace(text=f"{lines[-1].text} {content.strip()}")
        else:
            lines.append(_Line(number, len(content) - len(content.lstrip()), content.strip()))
    return lines


def _open(text: str) -> int:
    plain = re.sub(r"\"[^\"]*\"|'[^']*'", "", text)
    return sum(plain.count(one) for one in "[{") - sum(plain.count(one) for one in "]}")


def _block(lines: list[_Line], indent: int, depth: int) -> tuple[Any, list[_Line]]:
    """The value of the lines with this indentation, and the lines after it."""
    if depth > DEEPEST:
        raise ValueError(f"line {lines[0].number} is nested too deeply")
    if lines[0].text == "-" or lines[0].text.startswith("- "):
        return _sequence(lines, indent, depth)
    if KEY.fullmatch(lines[0].text):
        return _mapping(lines, indent, depth)
    return _flow(lines[0].text, lines[0].number), lines[1:]


def _sequence(lines: list[_Line], indent: int, depth: int) -> tuple[list[Any], list[_Line]]:
    found: list[Any] = []
    while lines and lines[0].indent == indent and (lines[0].text == "-" or lines[0].text.startswith("- ")):
        first = lines[0]
        inner = first.text[1:].lstrip()
        offset = len(first.text) - len(inner)
        rest = [_Line(first.number, indent + offset, inner), *lines[1:]] if inner else lines[1:]
        if not inner and (not rest or rest[0].indent <= indent):
            found.append(None)
            lines = rest
            continue
        value, lines = _block(rest, rest[0].indent, depth + 1)
        found.append(value)
    return found, lines


def _mapping(lines: list[_Line], indent: int, depth: int) -> tuple[dict[str, Any], list[_Line]]:
    found: dict[str, Any] = {}
    while lines and lines[0].indent == indent:
        line = lines[0]
        matched = KEY.fullmatch(line.text)
        if matched is None:
            raise ValueError(f"line {line.number}: expected KEY: VALUE, got {line.text[:40]!r}")
        key, rest = matched["key"].strip("\"'"), matched["rest"].strip()
        if key in found:
            raise ValueError(f"line {line.number}: {key[:40]!r} is there twice")
        lines = lines[1:]
        if rest:
            found[key] = _flow(rest, line.number)
        elif lines and (lines[0].indent > indent or (lines[0].indent == indent and lines[0].text.startswith("-"))):
            found[key], lines = _block(lines, lines[0].indent, depth + 1)
        else:
            found[key] = None
    return found, lines


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
