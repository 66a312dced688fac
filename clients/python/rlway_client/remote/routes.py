"""The paths of a policy server that a client asks.

In:      a policy's name, or none for the server's default policy; a version, or none for the active one.
Out:     paths, with the names in them quoted.
Refuses: a server without a default policy, where none is named (ServerUnreachable).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from rlway_client.common.quote import named
from rlway_client.contract.errors import ServerUnreachable

POLICIES = "/v1/policies"


def act_path(policy: str | None) -> str:
    """The act route of a policy, or of the server's default policy."""
    return "/act" if policy is None else f"{POLICIES}/{quote(policy, safe='')}/act"


def description_path(policy: str, version: int | None = None) -> str:
    """Where the server describes a policy, or one of its loaded versions."""
    path = f"{POLICIES}/{quote(policy, safe='')}"
    return path if version is None else f"{path}/versions/{quote(str(version), safe='')}"


def default_policy(listing: Any) -> str:
    """The name of the default policy, from the listing of `POLICIES`. Raises ServerUnreachable without one."""
    name = listing.get("default") if isinstance(listing, dict) else None
    if not isinstance(name, str):
        policies = listing.get("policies") if isinstance(listing, dict) else None
        served = [str(policy.get("name")) for policy in policies or [] if isinstance(policy, dict)]
        raise ServerUnreachable(
            f"the server has no default policy; name one of those that it serves: {named(served) or 'none yet'}."
        )
    return name
