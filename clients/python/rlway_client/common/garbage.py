"""Keeps Python's garbage collector from looking at TensorFlow's objects again and again.

In:      a block that imports TensorFlow, in a process of its own.
Out:     the same, sooner: a third of the import's time is not spent.

The import makes a million objects that stay. The collector would look at all of them several times meanwhile, and once
more when the process ends. After the block, it never looks at them again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

PATIENT = (200_000, 50, 1000)  # new objects, and collections of the younger generations, before Python collects


@contextmanager
def patient_collector() -> Iterator[None]:
    """For a command: a notebook's own objects would not be looked at again, either. After another, it does nothing."""
    if gc.get_freeze_count():
        yield
        return
    usual = gc.get_threshold()
    gc.set_threshold(*PATIENT)
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*usual)
