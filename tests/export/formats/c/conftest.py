"""The compilers' options that a policy's C source has to act alike under."""

from __future__ import annotations

import pytest

from rlway_client.local import c_program
from tests.export.formats.c.c_policies import FUSING


@pytest.fixture(params=["as it is tested", "fused"])
def _options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that an export is tested with, and those of a compiler that fuses multiplications with additions."""
    if request.param == "fused":
        monkeypatch.setattr(c_program, "FLAGS", FUSING)
