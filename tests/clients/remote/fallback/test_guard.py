"""A guard holds across the change between server and local policy: no step is larger than its limit."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from rlway_client import EdgePolicy
from rlway_client.common.files import sha256
from rlway_client.contract.guard import FILE, ActionLimits, Guard, encode_guard
from rlway_client.contract.manifest import encode_manifest
from tests.bundles import gaussian_policy
from tests.clients.conftest import Connect
from tests.clients.remote.fallback.conftest import PROMPT_MS, wait_for_server
from tests.middleman import middleman
from tests.servers import running_server

STEP = 0.25


def guarded_policy(models: Path, guard: Guard) -> Path:
    """The bundle of a continuous policy with this guard."""
    bundle = gaussian_policy(models)
    (bundle.path / FILE).write_bytes(encode_guard(guard))
    files = {**bundle.manifest.files, FILE: sha256(bundle.path / FILE)}
    (bundle.path / "manifest.json").write_bytes(encode_manifest(replace(bundle.manifest, files=files)))
    return bundle.path


def test_no_change_of_sides_is_a_jump(connect: Connect, tmp_path: Path) -> None:
    """From the server to the local policy, and back within the episode."""
    limits = ActionLimits(change_per_step=STEP, safe=0)
    path = guarded_policy(tmp_path / "models", Guard(schema_version=1, actions={"action": limits}))
    size = EdgePolicy(path, "model.onnx").manifest.observation[0].size
    rows = np.random.default_rng(0).normal(size=(4000, size)).astype(np.float32)
    sources, last = [], None
    with (
        running_server(tmp_path / "models", tmp_path / "log") as server,
        middleman(server.host, server.port) as between,
    ):
        client = connect(
            between.url, "gaussian", episode="arm", fallback=EdgePolicy(path, "model.onnx"), within_ms=PROMPT_MS
        )
        wait_for_server(client)
        for row in rows:
            reply = client.ask(row)
            if last is not None:
                assert np.abs(reply.action - last).max() <= STEP + 1e-6
            last = reply.action
            sources.append(reply.source)
            between.swallows = len(sources) in range(10, 30)
            if len(sources) > 30 and sources[-20:] == ["server"] * 20:
                break
            if reply.source == "local":
                time.sleep(0.002)  # a tick of the control loop, in which the probe can be answered
    assert sources[9] == "server"
    assert sources[30] == "local"
    assert sources[-1] == "server"


def test_an_action_that_the_guard_refuses_is_not_given(connect: Connect, tmp_path: Path) -> None:
    """Server and local policy refuse it alike; the loop holds the last action, here the one nearest to zero."""
    limits = ActionLimits(maximum=1e-6, minimum=-1e-6)
    guard = Guard(schema_version=1, actions={"action": limits}, out_of_range="refuse", non_finite="refuse")
    path = guarded_policy(tmp_path / "models", guard)
    with running_server(tmp_path / "models", tmp_path / "log") as server:
        client = connect(server.url, "gaussian", fallback=EdgePolicy(path, "model.onnx"), within_ms=PROMPT_MS)
        wait_for_server(client)
        size = EdgePolicy(path, "model.onnx").manifest.observation[0].size
        reply = client.ask(np.ones(size, np.float32))
    assert (np.abs(reply.action).max(), reply.source) == (0, "hold")
    assert "guard" in str(reply.why)
