"""Checks callers' keys, in two scopes: the API and administration.

In:      the `Authorization` header: `Bearer KEY`, or `Api-Key KEY` as openpi's client writes it.
Out:     the digest of the key, if it is accepted.
Refuses: KeyMissing, KeyRefused; key files that cannot be read at the start (UsageError). Later, an unreadable file is
         logged and the keys in use stay.

Keys come from a file, one a line, or from an environment variable, separated by spaces. They are kept and compared as
digests, in the same time for every key and every input.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from rlway_client.contract.errors import KeyMissing, KeyRefused, UsageError
from rlway_serve.settings import Settings

API_VARIABLE, ADMIN_VARIABLE = "RLWAY_API_KEYS", "RLWAY_ADMIN_KEYS"

SCHEMES = (b"bearer", b"api-key")

log = logging.getLogger(__name__)


class Keys:
    """The accepted keys. Admin keys also count as API keys; a scope without keys is open to everyone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.needed = False  # whether the API asks for a key
        self._api: list[bytes] = []
        self._admin: list[bytes] = []
        self._on_change: list[Callable[[], None]] = []
        self._read()

    @property
    def files(self) -> list[Path]:
        """The files to watch for changes."""
        return [path for path in (self._settings.api_keys, self._settings.admin_keys) if path is not None]

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls `callback` after the keys were read again."""
        self._on_change.append(callback)

    @property
    def needed_for_admin(self) -> bool:
        """Whether the admin scope asks for a key."""
        return bool(self._admin)

    def reload(self) -> None:
        """Reads the files again."""
        try:
            self._read()
        except UsageError as error:
            log.error("%s The keys before it stay.", error)
        else:
            for callback in self._on_change:
                callback()
            log.info("keys: read again; %d for the API, %d for administration.", len(self._api), len(self._admin))

    def check(self, authorization: bytes | None) -> bytes | None:
        """The digest of the key in the header; None if the API needs no key. Raises KeyMissing, KeyRefused."""
        return _check(authorization, [*self._api, *self._admin]) if self._api else None

    def check_admin(self, authorization: bytes | None) -> None:
        """As `check`, for the admin scope."""
        if self._admin:
            _check(authorization, self._admin)

    def _read(self) -> None:
        api = _read_scope("--api-keys", self._settings.api_keys, API_VARIABLE)
        admin = _read_scope("--admin-keys", self._settings.admin_keys, ADMIN_VARIABLE)
        self._api, self._admin, self.needed = api, admin, bool(api)


def _check(authorization: bytes | None, keys: list[bytes]) -> bytes:
    scheme, _, given = (authorization or b"").partition(b" ")
    given = given.strip()
    if scheme.lower() not in SCHEMES or not given:
        raise KeyMissing("authorization: expected `Bearer` or `Api-Key` and an API key, got none.")
    digest = sha256(given).digest()
    # `sum`, since `any` would stop at the matching key, and the time would reveal its place.
    if sum(hmac.compare_digest(digest, key) for key in keys) == 0:
        raise KeyRefused("authorization: this API key is not accepted here.")
    return digest


def _read_scope(option: str, path: Path | None, variable: str) -> list[bytes]:
    """The digests of a scope's keys. A file or a variable without a key is a mistake, not an open door."""
    keys: list[bytes] = []
    if path is not None:
        try:
            lines = [line.strip() for line in path.read_bytes().splitlines()]
        except OSError as error:
            raise UsageError(f"{option} {path}: cannot be read: {error.strerror}.") from None
        keys = [line for line in lines if line and not line.startswith(b"#")]
        if not keys:
            raise UsageError(f"{option} {path}: holds no key; expected one a line.")
    if variable in os.environ:
        given = os.environb[variable.encode()].split()
        if not given:
            raise UsageError(f"{variable}: holds no key; expected one or several with spaces between, or no variable.")
        keys += given
    return [sha256(key).digest() for key in keys]
