"""Sums of the metrics of several workers."""

from __future__ import annotations

from prometheus_client import generate_latest

from rlway_serve.telemetry.multiprocess import Family, Merged, WrittenSample

COUNTING_GAUGES = ("rlway_queue_rows", "rlway_streams", "rlway_grpc_streams", "rlway_episodes")  # of one worker each


def family(name: str, kind: str, value: float) -> Family:
    suffix = "_total" if kind == "counter" else ""
    return Family(name, kind, "Help", [WrittenSample(name + suffix, {"policy": "p"}, value)])


def test_counts_are_added_and_states_are_not() -> None:
    """Counters, queues, streams and episodes are summed; a state that all workers share is counted once."""
    families = []
    for value in (1, 2, 4):
        families.append(family("rlway_actions", "counter", value))
        families += [family(name, "gauge", value) for name in COUNTING_GAUGES]
        families.append(family("rlway_versions_loaded", "gauge", 2))
    lines = generate_latest(Merged(iter(families))).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'rlway_actions_total{policy="p"} 7.0',
        *[f'{name}{{policy="p"}} 7.0' for name in COUNTING_GAUGES],
        'rlway_versions_loaded{policy="p"} 2.0',
    ]
    assert "# TYPE rlway_actions_total counter" in lines
