"""Runs `make demo`'s program over many seeds, and writes what is typical into docs/demo.json and README.md.

In:      nothing but this machine, which should have nothing else to do:
         PYTHONPATH=. .venv/bin/python benchmarks/demos.py --seeds 20
Out:     docs/demo.json; the output of the seed with the median number of steps, in README.md between two markers.
         With --write-only, README.md from the docs/demo.json that is there.

The output in the README is shortened: the first evaluations and the last ones stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.processor import processor
from demo import typical

ROOT = Path(__file__).resolve().parent.parent
RECORD, README = ROOT / "docs/demo.json", ROOT / "README.md"
BEGIN, END = "<!-- Written by benchmarks/demos.py. -->\n", "<!-- Up to here. -->\n"
PROGRESS = "step "  # begins a line of the training's progress
FIRST, LAST = 3, 1  # of these lines are shown


def run(seed: int) -> dict[str, Any]:
    """The numbers of one demo, with its output."""
    with tempfile.TemporaryDirectory() as scratch:
        numbers = Path(scratch) / "demo.json"
        command = [sys.executable, str(ROOT / "demo.py"), "--seed", str(seed), "--json", str(numbers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            sys.exit(f"seed {seed}: exit status {done.returncode}\n{done.stdout}")
        return {**json.loads(numbers.read_text()), "output": done.stdout}


def shortened(output: str) -> str:
    """The output without most of the training's progress, the export's, and the steps that print nothing of note."""
    lines = [line for line in output.strip().splitlines() if "typical:" not in line]
    progress = [i for i, line in enumerate(lines) if line.startswith(PROGRESS) and "return" in line]
    exporting, table = (next(i for i, line in enumerate(lines) if begins in line) for begins in ("2/6", "file    "))
    serving, result = (next(i for i, line in enumerate(lines) if begins in line) for begins in ("3/6", "mean return"))
    gaps = [
        range(progress[: FIRST + 1][-1], progress[-LAST]),
        range(exporting + 1, table),
        range(serving - 1, result),
    ]
    dropped = {i for gap in gaps for i in gap}
    marks = {gap[0] for gap in (gaps[0], gaps[2]) if gap}
    shown = ["…" if i in marks else line for i, line in enumerate(lines) if i in marks or i not in dropped]
    return "\n".join(shown)


def block(record: dict[str, Any]) -> str:
    """What stands in the README."""
    shown = record["typical"]
    return (
        f"```\n{shortened(shown['output'])}\n```\n\n"
        f"This is the run with the median number of steps (seed {shown['seed']}). Rates depend on what else the "
        f"machine does. Median and range:\n{typical(record).removeprefix('typical: ')}.\n"
    )


def with_block(readme: str, record: dict[str, Any]) -> str:
    """The README with the block between its markers."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + block(record) + END + rest.split(END)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--write-only", action="store_true", help="run nothing")
    options = parser.parse_args()
    if not options.write_only:
        demos = []
        for seed in range(options.seeds):
            demos.append(run(seed))
            print({name: value for name, value in demos[-1].items() if name != "output"}, flush=True)
        middle = sorted(demos, key=lambda demo: demo["steps"])[len(demos) // 2]
        record = {
            **processor(),
            "demos": [{name: value for name, value in demo.items() if name != "output"} for demo in demos],
            "typical": {"seed": middle["seed"], "output": middle["output"]},
        }
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    README.write_text(with_block(README.read_text(), json.loads(RECORD.read_text())))


if __name__ == "__main__":
    main()
