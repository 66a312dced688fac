"""A model's statistics, as Triton's statistics extension gives them.

In:      the counts of loaded versions.
Out:     `model_stats`, an entry for each version. Counts begin when a version is loaded, and are those of one worker.
Refuses: nothing.

Reading a request and writing its answer are not measured apart: `compute_input` and `compute_output` take no time, and
`compute_infer` is the run. The queue's time includes reading the request. `fail` counts refused requests, too.
Times are those of all requests that ran, also of those whose action was refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rlway_serve.registry.loaded_version import LoadedVersion


def model_statistics(versions: Iterable[LoadedVersion]) -> dict[str, Any]:
    """The statistics of these versions."""
    return {"model_stats": [_statistics(version) for version in versions]}


def _statistics(version: LoadedVersion) -> dict[str, Any]:
    metrics = version.metrics
    metrics.update_histograms()
    succeeded = metrics.requests[200]
    failed = sum(count for status, count in metrics.requests.items() if status != 200)
    run_s = metrics.request_s.total - metrics.queue_s.total  # of each request, so a run counts once for each in it
    ended_ms = (time.time() - time.perf_counter() + metrics.last_run_s) * 1000 if metrics.last_run_s else 0
    return {
        "name": version.manifest.policy,
        "version": str(version.number),
        "last_inference": int(ended_ms),
        "inference_count": metrics.actions,
        "execution_count": sum(runs for runs, _ in metrics.by_rows.values()),
        "inference_stats": {
            "success": _duration(succeeded, metrics.request_s.total),
            "fail": _duration(failed, 0),
            "queue": _duration(succeeded, metrics.queue_s.total),
            "compute_input": _duration(succeeded, 0),
            "compute_infer": _duration(succeeded, run_s),
            "compute_output": _duration(succeeded, 0),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(runs, 0),
                "compute_infer": _duration(runs, compute_s),
                "compute_output": _duration(runs, 0),
            }
            for rows, (runs, compute_s) in sorted(metrics.by_rows.items())
        ],
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": max(0, round(seconds * 1e9))}
