"""Gives the readers of requests over gRPC nearly valid messages, in this process.

In:      how many, a seed, the protocol: oip, oip-stream or tfs.
Out:     how many were read and how many refused, by the error. The exit status is 1 where a reader fails in any other
         way, a refusal is no sentence, or the plain way and the general way differ.

    python -m tests.fuzz_rpc --protocol oip --inputs 300000
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.errors import RlwayError
from rlway_client.protos.inference_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from rlway_client.protos.tensorflow_pb2 import TensorProto
from rlway_client.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse
from rlway_serve.gateway.api_keys import Keys
from rlway_serve.gateway.body_budget import BodyBudget
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.episodes import Episodes
from rlway_serve.gateway.rpc import RpcCall
from rlway_serve.messages.response import GrpcRefusal, Response
from rlway_serve.protocols.oip.grpc import route as oip
from rlway_serve.protocols.tfs.grpc import route as tfs
from rlway_serve.registry.repository import Repository
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from tests.bundles import linear_policy, robot_policy, summing_policy
from tests.callers import Receiving

POLICIES = ("linear", "linear", "linear", "robot", "summing", "nothing")
NAMES = ("observation", "observation", "0/observation", "camera", "joints_arm", "noise", "sum", "reset", "0/step_type")
RESULTS = {
    "action": np.array([1]),
    "q_values": np.zeros((1, 2), np.float32),
    "next_sum": np.zeros((1, 4), np.float32),
}
SIZES = (0, 1, 2, 3, 4, 4, 4, 5, 100, 101, 2**31, 2**62, -1, -(2**63))
WHOLE = (0, 1, -1, 2, 127, 128, 255, 256, 2**31 - 1, -(2**31))
NUMBERS = (0.0, 1.0, -1.5, 1e38, float("nan"), float("inf"))
DATATYPES = ("FP32", "FP32", "FP64", "FP16", "INT64", "INT8", "UINT8", "BOOL", "BYTES", "x", "")
PARAMETERS = ("sequence_id", "sequence_start", "sequence_end", "timeout", "priority", "explore", "seed", "label", "x")
CONTENTS = ("fp32_contents", "fp64_contents", "int_contents", "uint_contents", "bool_contents", "int64_contents")
LISTS = ("float_val", "double_val", "int_val", "int64_val", "bool_val", "half_val", "uint32_val", "uint64_val")
PIECES = (b"\xff", b"\x00", b"\x0a", b"\x12", b"\x0b", b"\xff\xff\xff\xff\x0f", b"\x80" * 11, b"\x3a\x10", b"\x22\x10")

Draw = Callable[[random.Random], bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=[*FUZZED], default="oip")
    parser.add_argument("--inputs", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rlway-fuzz-") as folder:
        outcomes, failures = fuzz(options.protocol, Path(folder), options.inputs, options.seed)
    wall_s = round(time.perf_counter() - began_s, 1)
    print(json.dumps({"inputs": outcomes.total(), "outcomes": outcomes, "failures": len(failures), "wall_s": wall_s}))
    for failure in failures[:20]:
        print(failure[:2000], file=sys.stderr)
    sys.exit(bool(failures))


def fuzz(protocol: str, folder: Path, inputs: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Reads this many inputs; returns the outcomes and the failures."""
    endpoint, settings = open_endpoint(folder)
    make_routes, draw, read_answer = FUZZED[protocol]
    routes = make_routes(endpoint, settings)
    generator = random.Random(seed)
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    for _ in range(inputs):
        message = draw(generator)
        for _ in range(generator.choice((0, 0, 0, 1, 1, 3))):
            message = damage(generator, message)
        try:
            outcomes[read(routes, message, read_answer)] += 1
        except Exception as error:
            outcomes["failure"] += 1
            failures.append(f"{message!r}: {error!r}")
    return outcomes, failures


def open_endpoint(folder: Path) -> tuple[Endpoint, Settings]:
    """An endpoint without a server."""
    for policy in (linear_policy, robot_policy, summing_policy):
        policy(folder / "models")
    settings = Settings(models=folder / "models", max_rows=100)
    repository = Repository(settings, Metrics())
    repository.load()
    budget, episodes = BodyBudget(settings.max_buffered_bytes), Episodes(600.0, 1000)
    return Endpoint(repository, Keys(settings), budget, episodes, None, settings.max_json_bytes), settings


def read(routes: Any, message: bytes, read_answer: Callable[[bytes], Any]) -> str:
    """Reads one message in both ways; returns what became of it."""
    try:
        route, request = routes.ask(message)
    except RlwayError as error:
        check_sentence(str(error), error)
        return type(error).__name__
    version = route.policy.active
    plain = RpcCall("peer", 0.0)
    is_plain = route.take_plain(version, {}, request, plain)
    try:
        question = route.question({}, request)
        call = question.read(route.policy.choose(question.pin), Receiving())
    except RlwayError as error:
        assert not is_plain, "read on the plain way, and refused on the general one"
        check_refusal(route.refuse(error), error)
        return type(error).__name__
    answer = question.write({name: RESULTS[name] for name in ("action", *call.outputs)}, {})
    written = read_answer(answer.body)
    if not is_plain:
        return "read"
    row = np.frombuffer(plain.observations, np.float32)
    np.testing.assert_array_equal(row, np.asarray(call.observations).ravel())
    assert plain.wire is not None
    [prepared] = plain.wire.write_actions(RESULTS["action"])
    assert read_answer(prepared.body + plain.tail) == written
    return "plain"


def check_refusal(response: Response, error: RlwayError) -> None:
    if isinstance(response, GrpcRefusal):
        check_sentence(response.body.decode(), error)
        assert response.code not in ("INTERNAL", "UNKNOWN")
    else:
        check_sentence(ModelStreamInferResponse.FromString(response.body).error_message, error)


def check_sentence(sentence: str, error: RlwayError) -> None:
    assert 400 <= error.http < 502, error
    assert 10 < len(sentence) < 300, len(sentence)


def damage(generator: random.Random, message: bytes) -> bytes:
    """Changes the bytes at one place."""
    place = generator.randrange(len(message) + 1)
    kind = generator.randrange(5)
    if kind == 0:
        return message[:place]
    if kind == 1:
        return message[:place] + generator.choice(PIECES) + message[place:]
    if kind == 2:
        return message[:place] + message[place + generator.randrange(1, 5) :]
    if kind == 3:
        return message[:place] + message[place:] * 2
    return message[:place] + bytes([generator.randrange(256)]) + message[place + 1 :]


def draw_shape(generator: random.Random, sound: bool) -> list[int]:
    if sound:
        return [generator.choice((1, 1, 1, 2, 101)), 4]
    return [generator.choice(SIZES) for _ in range(generator.choice((0, 1, 2, 2, 2, 3, 40)))]


def draw_octets(generator: random.Random, shape: list[int], item_bytes: int) -> bytes:
    size = 1
    for length in shape:
        size = min(size * max(length, 0), 1000)
    octets = np.array([generator.choice(NUMBERS[:3]) for _ in range(size)], f"<f{item_bytes}").tobytes()
    return octets if generator.random() < 0.9 else octets[: generator.randrange(len(octets) + 1)]


def draw_infer(generator: random.Random) -> bytes:
    """A ModelInferRequest."""
    sound = generator.random() < 0.5
    request = ModelInferRequest(model_name="linear" if sound else generator.choice(POLICIES))
    if generator.random() < 0.2:
        request.id = generator.choice(("a", "ö", "x" * 300))
    if not sound and generator.random() < 0.2:
        request.model_version = generator.choice(("1", "2", "0", "x", "9" * 30))
    raw = sound or generator.random() < 0.5
    for _ in range(1 if sound else generator.choice((0, 1, 1, 1, 2, 3))):
        shape = draw_shape(generator, sound)
        datatype = "FP32" if sound else generator.choice(DATATYPES)
        tensor = request.inputs.add(name="observation" if sound else generator.choice(NAMES), datatype=datatype)
        tensor.shape.extend(shape)
        if raw:
            request.raw_input_contents.append(draw_octets(generator, shape, {"FP64": 8, "FP16": 2}.get(datatype, 4)))
        if not raw or generator.random() < 0.02:
            name = generator.choice(CONTENTS)
            values = NUMBERS if name.startswith("fp") else (0, 1) if name.startswith("uint") else WHOLE
            count = generator.choice((0, 1, 4, 4, 4, 8))
            getattr(tensor.contents, name).extend([generator.choice(values) for _ in range(count)])
    if generator.random() < 0.2:
        for _ in range(generator.choice((1, 1, 2))):
            request.outputs.add(name=generator.choice(("action", "action", "q_values", "next_sum", "x")))
    if generator.random() < 0.15:
        parameter = request.parameters[generator.choice(PARAMETERS)]
        kind = generator.choice(("bool_param", "int64_param", "string_param", "double_param", "uint64_param", ""))
        if kind:
            given: Any = {"bool_param": True, "string_param": "a", "double_param": 0.5}.get(kind, 7)
            setattr(parameter, kind, given)
    octets: bytes = request.SerializeToString()
    return octets


def draw_predict(generator: random.Random) -> bytes:
    """A PredictRequest."""
    sound = generator.random() < 0.5
    request = PredictRequest(model_spec={"name": "linear" if sound else generator.choice(POLICIES)})
    if generator.random() < 0.2:
        request.model_spec.signature_name = generator.choice(("serving_default", "action", "x"))
    if generator.random() < 0.1:
        request.model_spec.version.value = generator.choice((0, 1, 2, -1))
    elif generator.random() < 0.05:
        request.model_spec.version_label = generator.choice(("", "stable"))
    for _ in range(1 if sound else generator.choice((0, 1, 1, 1, 2, 3))):
        shape = draw_shape(generator, sound)
        kind = 1 if sound else generator.choice((0, 1, 1, 1, 2, 3, 4, 6, 7, 9, 10, 19, 22, 23, 99))
        tensor = TensorProto(dtype=kind)  # type: ignore[arg-type]  # a number stands for any type
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        if generator.random() < 0.7:
            tensor.tensor_content = draw_octets(generator, shape, {2: 8, 19: 2}.get(kind, 4))
        if generator.random() < 0.3:
            name = generator.choice(LISTS)
            values = NUMBERS if name in ("float_val", "double_val") else (0, 1) if "u" in name else WHOLE
            getattr(tensor, name).extend([generator.choice(values) for _ in range(generator.choice((0, 1, 2, 4, 8)))])
        if kind == 7:
            tensor.string_val.extend([b"a"] * generator.choice((0, 1, 2)))
        names = ("episode", "seed", "deadline_ms", *NAMES)
        request.inputs["observation" if sound else generator.choice(names)].CopyFrom(tensor)
    if generator.random() < 0.1:
        request.output_filter.extend(generator.sample(("action", "q_values", "next_sum", "x"), 2))
    octets: bytes = request.SerializeToString()
    return octets


FUZZED: dict[str, tuple[Callable[[Endpoint, Settings], Any], Draw, Callable[[bytes], Any]]] = {
    "oip": (lambda endpoint, _: oip.GrpcRoutes(endpoint, False), draw_infer, ModelInferResponse.FromString),
    "oip-stream": (lambda endpoint, _: oip.GrpcRoutes(endpoint, True), draw_infer, ModelStreamInferResponse.FromString),
    "tfs": (tfs.GrpcRoutes, draw_predict, PredictResponse.FromString),
}

if __name__ == "__main__":
    main()
