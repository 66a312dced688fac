"""`rlway bench`: how many actions a server gives per second, and how long each takes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from rlway_client.cli.connection import DEFAULT_URL, KeyOption, PolicyOption, TimeoutOption, UrlOption
from rlway_client.contract.specs import TensorSpec
from rlway_client.remote.client import PolicyClient, act_path
from rlway_client.remote.http import Address
from rlway_client.remote.load import Load, run_load
from rlway_client.remote.messages import encode_act, read_manifest

DISTINCT_OBSERVATIONS = 256


def bench(
    url: UrlOption = DEFAULT_URL,
    policy: PolicyOption = None,
    connections: Annotated[
        int, typer.Option(help="Connections; each sends its next request once it has an answer.", min=1)
    ] = 32,
    duration_s: Annotated[float, typer.Option(help="How long to measure, seconds.", min=0.1)] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of the observations.", min=0)] = 0,
    key: KeyOption = None,
    timeout_s: TimeoutOption = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
) -> None:
    """Load a policy server: throughput, and latency percentiles in milliseconds.

    A closed loop in one process: it takes about as much of a core as the server does, so give them one each.
    """
    with PolicyClient(url, policy, key=key, timeout_s=timeout_s) as client:
        manifest = read_manifest(client.describe())
    address = Address.parse(url)
    observations = nested_rows(manifest.observation, DISTINCT_OBSERVATIONS, seed)
    requests = [
        address.request("POST", act_path(policy), encode_act(row, batched=False), "application/json", key)
        for row in observations
    ]
    load = asyncio.run(run_load(address, requests, connections, duration_s, timeout_s))
    print(msgspec.json.encode(load).decode() if as_json else _describe(load))


def nested_rows(specs: list[TensorSpec], rows: int, seed: int) -> list[Any]:
    """Sampled observations as environments give them: arrays, or dicts of them nested by the specs' paths."""
    columns = [sample_observations(spec, rows, seed + i) for i, spec in enumerate(specs)]
    if not specs[0].path:
        return list(columns[0])
    nested: list[Any] = []
    for values in zip(*columns, strict=True):
        row: dict[str, Any] = {}
        for spec, value in zip(specs, values, strict=True):
            branch = row
            for key in spec.path[:-1]:
                branch = branch.setdefault(key, {})
            branch[spec.path[-1]] = value
        nested.append(row)
    return nested


def sample_observations(spec: TensorSpec, rows: int, seed: int) -> Any:  # -> [rows, *shape]
    """Sampled observations within the spec's bounds and tables; unbounded elements are standard normal."""
    generator = np.random.default_rng(seed)
    (low, high), (least, most) = spec.bounds(), spec.lookup_bounds()
    low, high = np.maximum(low, least), np.minimum(high, most)
    bounded = np.isfinite(low) & np.isfinite(high)
    uniform = generator.uniform(np.where(bounded, low, 0), np.where(bounded, high, 1), (rows, *spec.shape))
    values = np.where(bounded, uniform, np.clip(generator.standard_normal((rows, *spec.shape)), low, high))
    return values.astype(spec.numpy_dtype)


def _describe(load: Load) -> str:
    latency = "  ".join(f"{name} {ms:.2f}" for name, ms in load.latency_ms.items())
    return (
        f"{load.achieved_rps:,.0f} actions/s over {load.connections} connections in {load.duration_s:.1f} s, "
        f"{load.errors} errors; latency ms: {latency}"
    )
