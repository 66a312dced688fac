"""Who may ask for actions.

In:      the `Authorization` header.
Out:     nothing: the caller is let through.
Refuses: KeyMissing, KeyRefused.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from rlway_client.errors import KeyMissing, KeyRefused, UsageError


class Keys:
    """The accepted API keys; without any, every caller is served."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys

    @classmethod
    def read(cls, path: Path | None) -> Keys:
        """One key a line; blank lines and lines that start with `#` do not count."""
        if path is None:
            return cls([])
        try:
            lines = [line.strip() for line in path.read_bytes().splitlines()]
        except OSError as error:
            raise UsageError(f"--api-keys {path}: cannot be read: {error.strerror}.") from None
        keys = [line for line in lines if line and not line.startswith(b"#")]
        if not keys:
            raise UsageError(f"--api-keys {path}: holds no key; expected one a line.")
        return cls(keys)

    def check(self, authorization: bytes | None) -> None:
        """Raises unless the header is `Bearer` and one of the keys. Takes the same time whichever key it is."""
        if not self._keys:
            return
        scheme, _, given = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not given.strip():
            raise KeyMissing("authorization: expected `Bearer` and an API key, got none.")
        given = given.strip()
        if sum(hmac.compare_digest(given, key) for key in self._keys) == 0:  # `any` would stop at the right one
            raise KeyRefused("authorization: this API key is not accepted here.")
