"""Errors of other libraries as sentences."""

from __future__ import annotations

from rlway_client.contract.errors import RlwayError
from rlway_client.envs.find import sentence


def one_sentence(error: Exception) -> str:
    """One sentence, whatever raised the error."""
    return str(error) if isinstance(error, RlwayError) else f"{sentence(error)}."
