"""The name of a project, which is its folder, its module and its policy; and the class in it.

In:      what a user calls it.
Out:     the name, and that of its class.
Refuses: a name that Python or a server would not take, or that hides a module (UsageError, with one that is possible).
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys

from rlway_client.contract.errors import UsageError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")
LONGEST = 60
OWN = ("STEPS",)  # constants of the template
USED = ("gymnasium", "numpy", "tensorflow", "tf_agents", "rlway")  # by what trains and plays, wherever that is


def check_name(name: str) -> str:
    """The name itself. Raises UsageError for one that cannot be a module's, with one that can."""
    if not NAME.fullmatch(name):
        wanted = f"letters, digits and '_', beginning with a letter, at most {LONGEST}"
        raise UsageError(f"name {name[:80]!r}: expected {wanted}; how about {suggested(name)!r}?")
    if _is_a_word(name):
        raise UsageError(f"name {name!r}: means something in Python or in the project; how about {suggested(name)!r}?")
    if is_a_module(name):
        raise UsageError(f"name {name!r}: is a module that {name}.py would hide; how about {suggested(name)!r}?")
    return name


def class_name(name: str) -> str:
    """`my_project` as MyProject."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def suggested(name: str) -> str:
    """A name like this one that is possible."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    like = "_".join(words).lower().lstrip("0123456789_")[: LONGEST - 4].strip("_") or "my_project"
    return like if _is_possible(like) else f"{like}_env"


def is_a_module(name: str) -> bool:
    """Whether Python, or what is installed here, has a module of this name."""
    if name in sys.stdlib_module_names or name in USED:
        return True
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # without an origin: a folder that happens to be there


def _is_possible(name: str) -> bool:
    return not (_is_a_word(name) or is_a_module(name))


def _is_a_word(name: str) -> bool:
    """Whether the name of the module, or of the class in it, means something else there."""
    return keyword.issoftkeyword(name) or any(map(keyword.iskeyword, (name, class_name(name)))) or name in OWN
