"""Makes msgspec's classes safe to use on several threads.

msgspec builds what it knows of a Struct class when the class is first decoded. If a second thread decodes one of the
same class meanwhile, it reads the unfinished part, and the process ends with a segmentation fault (msgspec 0.22).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache

import msgspec


@cache
def build_structs() -> None:
    """Builds it for every class that exists, once. To be called before a thread is started that decodes any."""
    for kind in _below(msgspec.Struct):
        with suppress(TypeError, NameError):  # a class of values that are never decoded
            msgspec.json.Decoder(kind)


def _below(kind: type) -> Iterator[type]:
    subclasses: list[type] = kind.__subclasses__()
    for subclass in subclasses:
        yield subclass
        yield from _below(subclass)
