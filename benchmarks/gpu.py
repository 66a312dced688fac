"""The speed of a policy on the CPU and on each GPU provider, by network width and batch size.

In:      Q-networks of several widths; onnxruntime-gpu for every device except the CPU (pip install onnxruntime-gpu).
Out:     a table of microseconds per run, and the choice of `--device auto`.

    PYTHONPATH=. python benchmarks/gpu.py
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from rlway_serve.backends.onnx import available_devices
from rlway_serve.backends.select import open_runtime
from rlway_serve.settings import Device, Settings
from tests.bundles import q_network_policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[100, 512, 2048])
    parser.add_argument("--max-batch", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = []
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as folder:
        for width in options.widths:
            rows += measure(Path(folder), width, options.max_batch)
    if options.json:
        print(json.dumps({"gpu": rows}))
        return
    sizes = [str(size) for size in rows[0]["latency_us"]]
    print(f"| network | device | µs per run at {' | '.join(sizes)} rows | rows/s |")
    print("|---|" + "---|" * (len(sizes) + 2))
    for row in rows:
        latency = " | ".join(f"{us:,.0f}" for us in row["latency_us"].values())
        print(f"| 4→{row['width']}→{row['width']}→2 | {row['device']} | {latency} | {row['rows_per_s']:,.0f} |")


def measure(folder: Path, width: int, max_batch: int) -> list[dict[str, Any]]:
    """Measures every available device and then `auto`, all with buckets, so that they are comparable."""
    bundle = q_network_policy(folder, f"wide-{width}", (width, width))
    wanted: list[Device] = ["cpu", "cuda", "tensorrt", "auto"]
    rows = []
    for device in wanted:
        if device not in (*available_devices(), "auto"):
            continue
        runtime = open_runtime(bundle, Settings(models=folder, device=device, buckets=True, max_batch=max_batch))
        name = f"auto: {runtime.name}" if device == "auto" else runtime.name
        best = max(size / seconds for size, seconds in runtime.latency_s.items())
        latency = {size: seconds * 1e6 for size, seconds in runtime.latency_s.items()}
        rows.append({"width": width, "device": name, "latency_us": latency, "rows_per_s": best})
    return rows


if __name__ == "__main__":
    main()
