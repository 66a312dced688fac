"""Compilers, and what they make of the C++ client: the driver that the tests speak with.

In:      clients/cpp/include; the policies linear and summing as C source.
Out:     `Driver`, a process that takes a command a line.
Refuses: to wait for an answer longer than PATIENCE_S.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any, Self

from msgspec.structs import replace

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import encode_manifest
from rlway_client.contract.meaning import Meaning, TensorMeaning
from tests.bundles import linear_policy, summing_policy
from tests.conftest import ROOT

INCLUDE = ROOT / "clients/cpp/include"
EXAMPLES = ROOT / "examples"
HERE = Path(__file__).parent
TRAINING_PYTHON = ROOT / ".venv-train/bin/python"
STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-g1", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
PATIENCE_S = 120.0
KINDS = (
    *("ServerUnreachable", "TimedOut", "UsageError", "RequestMalformed", "KeyMissing", "KeyRefused", "NotFound"),
    *("RequestTimeout", "BodyTooLarge", "MediaTypeUnsupported", "SpecViolated", "QueueFull", "HeadersTooLarge"),
    *("InternalError", "Unimplemented", "NotReady", "DeadlineExceeded", "RlwayError"),
)
NAMES = ["hip", "knee", "ankle", "toe"]
MEANING = Meaning(
    control_period_s=0.02,
    tensors={"observation": TensorMeaning(names=NAMES, units="rad"), "action": TensorMeaning(choices=["brake", "go"])},
)
WRITE_C = """
import sys, onnx
from pathlib import Path
from rlway_client.contract.bundle import Bundle
from rlway_export.formats.c.source import write_c
for folder in map(Path, sys.argv[1:]):
    write_c(onnx.load(folder / "model.onnx"), Bundle.open(folder).manifest, folder)
"""


def compile_program(*words: Any, compiler: str = "g++") -> None:
    """Runs a compiler, which must have nothing to say."""
    done = subprocess.run([compiler, *map(str, words)], capture_output=True, text=True, timeout=600)
    assert not done.returncode, done.stderr
    assert not done.stderr, done.stderr


def named(bundle: Bundle, meaning: Meaning) -> Bundle:
    """The bundle, with this meaning in its manifest."""
    (bundle.path / "manifest.json").write_bytes(encode_manifest(replace(bundle.manifest, meaning=meaning)))
    return Bundle.open(bundle.path)


def make_policies(models: Path) -> None:
    """Two versions of a policy without state, the second with names and as C; one with state, also as C."""
    linear_policy(models)
    bundles = named(linear_policy(models, version=2), MEANING), summing_policy(models)
    folders = [bundle.path for bundle in bundles]
    subprocess.run([str(TRAINING_PYTHON), "-c", WRITE_C, *map(str, folders)], check=True, timeout=PATIENCE_S)


def make_driver(models: Path, folder: Path) -> None:
    """`driver`, with the address and the undefined-behaviour sanitizer."""
    folder.mkdir()
    objects = []
    for name, version in (("linear", 2), ("summing", 1)):
        objects.append(folder / f"{name}.o")
        source = models / name / str(version) / "policy.c"
        compile_program("-std=c99", f"-DRLWAY_ACT={name}_act", "-c", source, "-o", objects[-1], compiler="gcc")
    header = ("-I", models / "linear/2", "-DRLWAY_ACT=linear_act")
    target = (
        *header,
        "-I",
        INCLUDE,
        "-I",
        EXAMPLES / "ros2/include",
        HERE / "driver.cpp",
        *objects,
        "-o",
        folder / "driver",
    )
    compile_program(*STRICT, *SANITIZED, *target, "-pthread", "-lm")


class Driver:
    """The driver while it runs; a sanitizer's complaint ends it, and the test."""

    def __init__(self, program: Path) -> None:
        settings = os.environ | {"UBSAN_OPTIONS": "print_stacktrace=1"}
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._process as process:
            if kind is not None:
                process.kill()
                return
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0, "a leak, or what else a sanitizer finds at the end"

    def tell(self, *words: Any) -> Any:
        """The answer to one command. An empty word is written as `-`."""
        return self.tell_all([" ".join(str(word) or "-" for word in words)])[0]

    def tell_all(self, lines: list[str]) -> list[Any]:
        """The answers to many commands."""
        process, answers = self._process, []
        assert process.stdin is not None
        assert process.stdout is not None
        for line in lines:
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            readable, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
            assert readable, f"the driver does not answer {line!r}"
            answer = process.stdout.readline()
            assert answer, f"the driver ended at {line!r}"
            answers.append(json.loads(answer))
        return answers


def numbers(values: Any) -> str:
    """An observation as the driver reads it: each number as a float32 in full."""
    return " ".join(str(float(value)) for value in values)


def kind_of(answer: dict[str, Any]) -> str:
    """The name of an error, as Python has it."""
    return KINDS[answer["kind"]]
