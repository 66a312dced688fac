"""A server that wants a key: each client sends it in its own way. ovmsclient has none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foreign.conftest import ForeignServer, foreign_server
from tests.foreign.programs import DISTINCT, Program

KEY = "correct-horse"
KEYED = [program for program in DISTINCT if program.module != "asks_ovms" and program.transport != "rest-v1"]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignServer]:
    """Wants a key."""
    folder = tmp_path_factory.mktemp("keyed")
    keys = folder / "keys"
    keys.write_text(f"{KEY}\n")
    with foreign_server(folder, "--api-keys", str(keys)) as server:
        yield server


@pytest.mark.parametrize("program", KEYED, ids=[program.client for program in KEYED])
def test_a_client_is_served_with_its_key_and_refused_without(
    program: Program, keyed: ForeignServer, tmp_path: Path
) -> None:
    """As a bearer token in headers or metadata, or as openpi's Api-Key."""
    (tmp_path / "with").mkdir()
    served = keyed.start(program, tmp_path / "with", ["robot"], KEY)
    refused = keyed.start(program, tmp_path, ["robot"])
    assert served.finish().of("robot")["requests"] in (9, 16)
    error = refused.finish().facts["robot"]["error"]
    assert "key" in error or "401" in error
