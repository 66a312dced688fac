"""How long a whole export takes, from the command to the published bundle, beside an earlier checkout.

In:      .venv-train/bin/python benchmarks/export_start.py --before PATH [--rounds N]
Out:     the median time of both, over rounds in which they run by turns, and the median of their ratios.

PATH is a checkout of an earlier commit; both use this environment's packages. A stock DQN of TF-Agents (4→16→3), saved
by PolicySaver, is exported as ONNX and TFLite.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rlway_export.common.quiet import quiet_conversion

ROOT = Path(__file__).parents[1]
PACKAGES = ("clients/python", "train", "export")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of an earlier commit")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        policy = save_policy(Path(scratch) / "policy")
        took: dict[str, list[float]] = {"before": [], "now": []}
        for _ in range(options.rounds):
            for name, checkout in (("before", options.before), ("now", ROOT)):
                took[name].append(export_s(checkout, policy, Path(scratch) / "models"))
    ratios = [now / before for before, now in zip(took["before"], took["now"], strict=True)]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.rounds} rounds")
    for name, seconds in took.items():
        print(f"{name:<8} {statistics.median(seconds):.2f} s")
    print(f"ratio    {statistics.median(ratios):.2f}")


def save_policy(folder: Path) -> Path:
    """A greedy DQN, as TF-Agents saves it."""
    sys.path.insert(0, str(ROOT))
    with quiet_conversion():
        from tests.export import stock

        return stock.save(stock.greedy("dqn"), folder)


def export_s(checkout: Path, policy: Path, models: Path) -> float:
    """The wall time of one command, with the code of the checkout."""
    path = os.pathsep.join(str(checkout / package) for package in PACKAGES)
    words = [
        str(Path(sys.executable).parent / "rlway"),
        "export",
        str(policy),
        "--models",
        str(models),
        "--policy",
        "p",
    ]
    start_s = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": path})
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
