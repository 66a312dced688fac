"""One server's throughput on the CPU and on a GPU, over the network, by network width and number of clients.

In:      Q-networks of several widths; onnxruntime-gpu for `--device cuda` (pip install onnxruntime-gpu).
Out:     a table: JSON requests by `rlway bench`, and openpi's WebSockets, of 1 to 256 clients that wait for actions.

    PYTHONPATH=. python benchmarks/gpu_serving.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rig import RLWAY, print_table, running
from rlway_serve.backends.onnx import available_devices
from tests.bundles import q_network_policy
from tests.ports import free_port, wait_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[100, 2048])
    parser.add_argument("--protocols", nargs="+", default=["native", "openpi"])
    parser.add_argument("--robots", default="1,8,64,256", help="numbers of clients")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rlway", type=Path, default=RLWAY, help="the command to measure")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    devices = [device for device in ("cpu", "cuda") if device in available_devices()]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="rlway-bench-") as name:
        models = Path(name) / "models"
        for width in options.widths:
            q_network_policy(models, f"wide-{width}", (width, width))
        for device in devices:
            rows += measure(models, device, options)
    if options.json:
        print(json.dumps({"gpu_serving": rows}))
        return
    numbers = options.robots.split(",")
    table: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        key = (f"4→{row['width']}→{row['width']}→2", row["device"], row["protocol"])
        table.setdefault(key, []).append(f"{row['rps']:,.0f} ({row['p99_ms']:.1f} ms)")
    print_table(("network", "device", "protocol", *numbers), [(*key, *cells) for key, cells in table.items()])
    print("\nactions/s and p99 by the number of clients")


def measure(models: Path, device: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A server on this device, asked for each network in each protocol. Server and load share the machine."""
    port = free_port()
    log = models.parent / f"{device}.log"
    command = [str(options.rlway), "serve", str(models), "--port", str(port), "--device", device]
    rows = []
    with running(command, log=log, cores=""):
        wait_for(lambda: "serving" in log.read_text(), f"the server on {device}")
        for width in options.widths:
            for protocol in options.protocols:
                bench = [str(options.rlway), "bench", "--url", f"http://127.0.0.1:{port}", "--policy", f"wide-{width}"]
                asked = ["--protocol", protocol, "--robots", options.robots, "--duration-s", str(options.seconds)]
                done = subprocess.run([*bench, *asked, "--json"], stdout=subprocess.PIPE, check=True)
                for run in json.loads(done.stdout)["robots"]:
                    rows.append(
                        {
                            "width": width,
                            "device": device,
                            "protocol": protocol,
                            "robots": run["robots"],
                            "rps": run["achieved_rps"],
                            "p50_ms": run["latency_ms"]["p50"],
                            "p99_ms": run["latency_ms"]["p99"],
                        }
                    )
    return rows


if __name__ == "__main__":
    main()
