"""TensorFlow's nests, which are dicts and tuples of tensors, as the contract has them: tensors with paths and names.

In:      a nest with the keys that the policy was trained with.
Out:     its leaves in TensorFlow's order, each with its path of keys, and a name in files for each path.

A path has the keys themselves. TensorFlow's own paths join them with slashes, so that the key `robot/arm` and the keys
`robot` and `arm` look the same and cannot be told apart again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

KeyPath = tuple[str, ...]


def leaves(nest: Any) -> list[tuple[KeyPath, Any]]:
    """Each leaf with its path. The keys of a tuple are "0", "1", …, those of a named tuple its names."""
    from tensorflow.python.util.nest import flatten_with_tuple_paths

    return [(tuple(map(str, path)), leaf) for path, leaf in flatten_with_tuple_paths(nest)]


def expression(path: KeyPath) -> str:
    """The path as programs write it: `observation["body"]["speed"]`."""
    return "observation" + "".join(f"[{json.dumps(key)}]" for key in path)


def names(title: str, paths: Iterable[KeyPath]) -> list[str]:
    """A name for each path: the title and the keys, in letters, digits and underscores, which every format takes.

    Two names must differ in more than capitals, which TensorFlow does not distinguish. Of two equal names the later one
    gets a further underscore: that of `a_b` after that of `a/b`.
    """
    found: list[str] = []
    for path in paths:
        name = re.sub(r"\W", "_", "_".join((title, *path)), flags=re.ASCII)
        while name.lower() in map(str.lower, found):
            name += "_"
        found.append(name)
    return found
