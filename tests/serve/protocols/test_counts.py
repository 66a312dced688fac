"""Requests by protocol, as `/metrics` counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import linear_policy
from tests.servers import LANES, act_request, get_request, read_metrics, running_server

KEY = "correct-horse"
PATHS = {"oip": "/v2/models/linear/infer", "tfs": "/v1/models/linear:predict"}


@pytest.mark.parametrize("protocol", PATHS)
def test_a_request_is_counted_that_was_refused_before_its_body_was_read(
    tmp_path: Path, log: Path, protocol: str
) -> None:
    """On every lane, also the first one with its headers; reading a page is no request for actions."""
    models, keys = tmp_path / "models", tmp_path / "keys"
    linear_policy(models)
    keys.write_text(KEY)
    with running_server(models, log, "--api-keys", str(keys)) as server:
        asked = [act_request(b"{}", lane=lane, path=PATHS[protocol]) for lane in (*LANES, "hot")]
        assert [server.ask(request).status for request in asked] == [401] * 5
        assert server.ask(get_request("/v1/models/linear")).status == 401
        counts = read_metrics(server, f"authorization: Bearer {KEY}")
        assert counts["rlway_refusals_total", "linear", "1", "KeyMissing"] == 5
        assert counts["rlway_protocol_requests_total", "linear", protocol] == 5
        assert counts["rlway_protocol_refusals_total", "linear", "KeyMissing", protocol] == 5
