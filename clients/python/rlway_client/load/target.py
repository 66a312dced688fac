"""Whom a load test asks, and what: one policy of one server, and the observations.

In:      an address, a manifest, columns of observations.
Out:     what the dialects make their requests of.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.remote.http import Address


class Target(NamedTuple):
    """`policy` is None for the server's default one, where a protocol has a path for it."""

    address: Address
    policy: str | None
    manifest: Manifest
    columns: Arrays  # [rows, *shape] by the observation's tensors
    key: str | None = None
    grpc_port: int | None = None
    in_episodes: bool = False  # whether a request has to name its episode

    @property
    def name(self) -> str:
        return self.manifest.policy

    @property
    def quoted_name(self) -> str:
        return quote(self.manifest.policy, safe="")

    @property
    def observations(self) -> int:
        return len(next(iter(self.columns.values())))

    def tensors(self, place: int) -> Arrays:  # -> [1, *shape] by name
        """One observation, as a batch of one."""
        return {name: column[place : place + 1] for name, column in self.columns.items()}
