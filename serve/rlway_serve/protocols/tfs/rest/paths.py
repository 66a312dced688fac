"""The URLs of TensorFlow Serving's REST API.

In:      a path: `/v1/models/{model}[/versions/{number}|/labels/{label}][:{method}|/metadata]`.
Out:     `Asked`: the model, the version or label, and the method.
Refuses: any other path, and a version beyond 64 bits (RequestMalformed).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import RequestMalformed
from rlway_serve.messages.request import Pin

PREFIX = "/v1/models"
_MODEL = r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_POST = re.compile(rf"{_MODEL}:(predict|classify|regress)")
_GET = re.compile(rf"{_MODEL}(?:/(metadata))?")
METHODS = {"GET": _GET, "HEAD": _GET, "POST": _POST}
MAX_VERSION = 2**63 - 1


class Asked(NamedTuple):
    """What a path asks for."""

    model: str
    version: int | None  # None, as for 0: not named
    label: str | None
    method: str  # predict, classify, regress, metadata; empty: the status

    @property
    def pin(self) -> Pin:
        return Pin(self.version, self.label)


def parse_path(http_method: str, path: str) -> Asked:
    """What a request asks for. Raises RequestMalformed."""
    pattern = METHODS.get(http_method)
    found = pattern.fullmatch(path) if pattern is not None else None
    if found is None:
        said = "GET" if http_method == "HEAD" else http_method  # HEAD and GET have equal headers
        raise RequestMalformed(
            f"Malformed request: {clipped(said)} {clipped(path)}; "
            f"expected POST {PREFIX}/NAME:predict, or GET {PREFIX}/NAME."
        )
    model, version, label, method = found.groups()
    # Python refuses to convert thousands of digits.
    if version is not None and (len(version.lstrip("0")) > 19 or int(version) > MAX_VERSION):
        raise RequestMalformed(f"Failed to convert version: {clipped(version)} to numeric.")
    return Asked(model, int(version) or None if version else None, label, method or "")
