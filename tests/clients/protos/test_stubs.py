"""The generated stubs: up to date, and in one process with the packages that define the same messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

CLIENT = ROOT / "clients/python"
OURS = "from rlway_client.protos import inference_pb2 as own"
THEIRS = "from tritonclient.grpc import service_pb2 as triton"
EXCHANGE = """
asked = own.ModelInferRequest(model_name="pole", raw_input_contents=[b"1234"])
asked.parameters["seed"].int64_param = 3
read = triton.ModelInferRequest.FromString(asked.SerializeToString())
assert read.parameters["seed"].int64_param == 3
assert own.ModelInferRequest.FromString(read.SerializeToString()) == asked
"""


def test_the_committed_stubs_are_what_the_generator_makes(tmp_path: Path) -> None:
    """`make protos` changes no file: neither a .proto file nor the generator is ahead of the stubs."""
    generator = [sys.executable, str(CLIENT / "generate_protos.py"), str(tmp_path)]
    subprocess.run(generator, check=True, capture_output=True, timeout=120)
    made = {path.name: path.read_text() for path in (tmp_path / "rlway_client/protos").iterdir()}
    committed = {path.name: path.read_text() for path in (CLIENT / "rlway_client/protos").glob("*_pb2.py*")}
    assert made == committed, "run `make protos`, and commit what it changes"


@pytest.mark.parametrize("first", [OURS, THEIRS], ids=["ours first", "theirs first"])
def test_the_stubs_share_a_process_with_those_of_tritonclient(first: str) -> None:
    """protobuf allows one definition of a full name in a pool: these messages have a pool of their own."""
    program = "\n".join([first, OURS, THEIRS, EXCHANGE])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
