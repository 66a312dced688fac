"""The messages written here are those of the official packages: same names, numbers, types."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TRAIN

DESCRIBE = Path(__file__).with_name("describe.py")
TRAIN_PYTHON = TRAIN.with_name("python")
TENSORFLOW = ROOT / ".venv-train/lib/python3.11/site-packages/tensorflow"
HERE = Path(sys.executable)

INFERENCE = (HERE, "rlway_client.protos.inference_pb2")
TRITON = (HERE, "tritonclient.grpc.service_pb2")
SERVING = (HERE, "rlway_client.protos.tensorflow_serving_pb2")
TENSORFLOW_SERVING = (
    TRAIN_PYTHON,
    "tensorflow_serving.apis.prediction_service_pb2",
    "tensorflow_serving.apis.model_service_pb2",
)
against = pytest.mark.parametrize(
    ("ours", "theirs"), [(INFERENCE, TRITON), (SERVING, TENSORFLOW_SERVING)], ids=["inference", "tensorflow"]
)
# Of the services that both sides have, the methods that RLway does not answer.
NOT_ANSWERED = {
    "inference.GRPCInferenceService": {
        *(
            f"{memory}SharedMemory{verb}"
            for memory in ("System", "Cuda")
            for verb in ("Status", "Register", "Unregister")
        ),
        "TraceSetting",
        "LogSettings",
    },
    "tensorflow.serving.PredictionService": set(),
    "tensorflow.serving.ModelService": set(),
}
Described = dict[str, list[Any]]
Stubs = tuple[Any, ...]  # an interpreter, and names of modules


@functools.cache
def described(python: Path, *modules: str) -> Described:
    """What these modules define, seen by a process of its own."""
    environment = dict(os.environ)
    if python == TRAIN_PYTHON:
        # TensorFlow itself takes seconds to import, and stubs as old as these write to the descriptors of pure Python.
        environment |= {"BARE_PACKAGES": f"tensorflow={TENSORFLOW}", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    command = [str(python), str(DESCRIBE), *modules]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    found: Described = json.loads(done.stdout)
    return found


@against
def test_each_definition_is_the_official_one(ours: Stubs, theirs: Stubs) -> None:
    """Every message, field, enum value and method has the official name, number, type, label, oneof and map."""
    own, official = described(*ours), described(*theirs)
    assert {name: official.get(name) for name in own} == own


@against
def test_only_the_methods_that_rlway_does_not_answer_are_missing(ours: Stubs, theirs: Stubs) -> None:
    """Triton's shared memory, traces and log settings; none of TensorFlow Serving's."""
    own, official = described(*ours), described(*theirs)
    services = [name for name, (kind, *_) in own.items() if kind == "service"]
    assert services
    for service in services:
        absent = {name.removeprefix(f"{service}.") for name in official if name.startswith(f"{service}.")}
        assert absent - {name.removeprefix(f"{service}.") for name in own} == NOT_ANSWERED[service]
