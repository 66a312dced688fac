"""Names of projects: what is taken is a module's, a policy's and a folder's name; what is not gets one that is."""

from __future__ import annotations

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlway_client.contract.errors import UsageError
from rlway_client.contract.manifest import POLICY_NAME
from rlway_client.project.names import check_name, class_name


def refusal(name: str) -> str | None:
    """The sentence that refuses it."""
    try:
        check_name(name)
    except UsageError as error:
        return str(error)
    return None


def suggestion(name: str) -> str:
    """The name in that sentence."""
    said = refusal(name) or ""
    assert len(said) < 300
    found = re.search(r"how about '(\w+)'\?", said)
    assert found is not None
    return found[1]


@given(st.text(max_size=80) | st.from_regex(r"[a-z_-]{1,70}", fullmatch=True))
def test_a_name_is_possible_or_gets_one_that_is(name: str) -> None:
    """Python's own parser and the contract's pattern take it."""
    taken = name if refusal(name) is None else check_name(suggestion(name))
    assert refusal(taken) is None
    tree = ast.parse(f"from {taken} import {class_name(taken)}\n\n\nclass {class_name(taken)}:\n    pass\n")
    assert len(tree.body) == 2
    assert POLICY_NAME.fullmatch(taken)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("my-robot", "my_robot"),
        ("My Robot!", "my_robot"),
        ("2dboat", "dboat"),
        ("class", "class_env"),
        ("match", "match_env"),
        ("random", "random_env"),
        ("numpy", "numpy_env"),
        ("gymnasium", "gymnasium_env"),
        ("tensorflow", "tensorflow_env"),
        ("", "my_project"),
        ("Größe", "gr_e"),
        ("_hidden", "hidden"),
        ("a" * 61, "a" * 56),
    ],
)
def test_a_name_that_is_refused_gets_another(name: str, suggested: str) -> None:
    """Words of Python, modules that it would hide, letters that a URL would have to escape."""
    with pytest.raises(UsageError, match=f"how about '{suggested}'"):
        check_name(name)


@pytest.mark.parametrize(
    ("name", "found"), [("boat", "Boat"), ("my_robot", "MyRobot"), ("a__b_", "AB"), ("Lander2d", "Lander2d")]
)
def test_a_class_is_named_as_python_names_classes(name: str, found: str) -> None:
    assert class_name(name) == found
