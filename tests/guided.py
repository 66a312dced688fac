"""Looks for bytes that break a check of `tests.targets`, guided by code coverage (libFuzzer).

In:      seconds, names of targets; a folder for the corpus.
Out:     how many inputs were tried, and how many per second. The exit status is 1, and the bytes are printed, where a
         check fails.

    python -m tests.guided --seconds 120
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MISSING = "tests.guided: atheris is missing; install it with `.tools/bin/uv pip install --python .venv atheris`."
TARGETS = ("requests", "frames", "bodies", "manifests", "labels")
INSTRUMENTED = ["rlway_serve", "rlway_client", "uvicorn.protocols", "websockets", "tests.reading"]
WORDS = r"""
POST /act HTTP/1.1\x0d\x0a | GET /healthz HTTP/1.1\x0d\x0a | HEAD | CONNECT | host: a\x0d\x0a | \x0d\x0a\x0d\x0a
content-length: | transfer-encoding: chunked\x0d\x0a | connection: close\x0d\x0a | connection: upgrade\x0d\x0a
upgrade: websocket\x0d\x0a | expect: 100-continue\x0d\x0a | HTTP/1.0 | content-encoding: gzip\x0d\x0a | x-request-id:
authorization: Bearer | content-type: | application/octet-stream | application/json | 0\x0d\x0a\x0d\x0a
\"observation\": | \"observations\": | \"explore\": | \"epsilon\": | \"outputs\": | \"q_values\" | \"seed\":
\"version\": | \"label\": | \"episode\": | \"first\": true | NaN | Infinity | 1e39 | -1 | 18446744073709551615
9223372036854775808 | \xff\xfe | \xef\xbb\xbf | \\ud800 | null | [[]] | {} | true | \"shape\": | \"dtype\": | float64
\"time_step\": | \"reward\": | \"discount\": | \"step_type\":
\"path\": | \"files\": | ../ | \"camera\": | \"joints\": | \"arm\":
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="over all targets")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="a folder to start from and to add to; by default a temporary one")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one target, in this process
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit(MISSING)
    if options.here:
        fuzz(options.targets[0], options.seconds, options.seed, options.corpus)
    with tempfile.TemporaryDirectory(prefix="rlway-guided-") as folder:
        failed = False
        for target in options.targets:
            corpus = (options.corpus or Path(folder)) / target
            corpus.mkdir(parents=True, exist_ok=True)
            seconds = max(1, options.seconds // len(options.targets))
            words = [
                "--targets",
                target,
                "--seconds",
                str(seconds),
                "--seed",
                str(options.seed),
                "--corpus",
                str(corpus),
            ]
            done = subprocess.run(
                [sys.executable, "-m", "tests.guided", "--here", *words, "--corpus", str(corpus)],
                capture_output=True,
                text=True,
                check=False,
            )
            tried = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
            covered = re.findall(r"cov: (\d+)", done.stderr)
            count = int(tried[1]) if tried else 0
            report = {"target": target, "tried": count, "per_s": round(count / seconds), "exit": done.returncode}
            print(json.dumps(report | {"covered": int(covered[-1]) if covered else 0}), flush=True)
            if done.returncode:
                failed = True
                print(done.stdout[-4000:], done.stderr[-1500:], file=sys.stderr)
    sys.exit(failed)


def fuzz(target: str, seconds: int, seed: int, corpus: Path) -> None:
    """Runs libFuzzer, which ends the process; it does not return."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.targets import open_target
    check, seeds = open_target(target)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    dictionary = corpus.with_name(f"{target}.words")
    words = [word.strip() for word in re.split(r"[|\n]", WORDS) if word.strip()]
    dictionary.write_text("".join(f'"{word}"\n' for word in words))
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-max_len=4096", "-rss_limit_mb=4096", "-detect_leaks=0"]
    options = [f"-seed={seed}", f"-dict={dictionary}", f"-artifact_prefix={corpus}.", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
