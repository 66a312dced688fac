"""Nests of TensorFlow's, dicts and tuples of tensors, as the contract has them: tensors with paths and names.

In:      a nest, in which each key is as the policy was trained with it.
Out:     its leaves in TensorFlow's order, each with the keys under which it lies, and a name in files for each path.

A path has the keys themselves. TensorFlow joins them with slashes, and is then told `robot/arm` from `robot` and `arm`
no more: what it has joined cannot be split again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

Path = tuple[str, ...]


def leaves(nest: Any) -> list[tuple[Path, Any]]:
    """Each leaf with its path. The parts of a tuple lie under "0", "1", …, those of a named tuple under their names."""
    from tf_agents.utils.nest_utils import flatten_with_tuple_paths

    return [(tuple(map(str, path)), leaf) for path, leaf in flatten_with_tuple_paths(nest)]


def place(path: Path) -> str:
    """Where in an observation it leads, as programs write it: `observation["body"]["speed"]`."""
    return "observation" + "".join(f"[{json.dumps(key)}]" for key in path)


def names(title: str, paths: Iterable[Path]) -> list[str]:
    """A name for each path: the title and the keys, in letters, digits and underscores, which every format takes.

    Where two would be spelled alike, or differ by capitals alone, which TensorFlow does not tell apart, the later one
    ends in a further underscore: that of `a_b` after that of `a/b`.
    """
    found: list[str] = []
    for path in paths:
        name = re.sub(r"\W", "_", "_".join((title, *path)), flags=re.ASCII)
        while name.lower() in map(str.lower, found):
            name += "_"
        found.append(name)
    return found
