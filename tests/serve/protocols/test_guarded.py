"""Guards over every protocol: the same action, and the violated rules where the protocol has a place for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from rlway_client import PolicyClient
from rlway_client.contract.errors import ActionRefused, SpecViolated
from rlway_client.contract.guard import ActionLimits, Guard
from rlway_client.contract.specs import AnyArray
from rlway_client.protos.inference_pb2 import ModelInferResponse
from tests.bundles import gaussian_policy, summing_policy
from tests.replaying import guarded
from tests.rpc import (
    INFER,
    PREDICT,
    Talk,
    ask,
    channel_to,
    infer,
    predict,
    read_prediction,
    read_streamed,
)
from tests.serve.protocols.openpi.packing import pack, unpack
from tests.servers import ANSWER_S, OCTETS, Server, act_request, get_request, running_server


def real(numbers: Any) -> AnyArray:
    return np.array(numbers, np.float32)


SMALL, LARGE, BROKEN = [0.1, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1e10, 0.0, 0.0, 0.0]
FREE = 2 * np.tanh(real([[0.1, -0.1], [1, -1]]))  # the policy's actions for the first two; for the last NaN
SAFE = [0.25, 0.25]
RANGED = {SMALL[0]: (FREE[0], {}), LARGE[0]: ([1, FREE[1][1]], "out_of_range"), BROKEN[0]: (SAFE, "non_finite")}


class Answered(NamedTuple):
    """What an answer says; `guarded` is None where the protocol has no place for it."""

    action: Any = None
    guarded: Any = None
    refusal: str = ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`ranged` limits actions, `slowed` also their changes, and `strict` refuses; `summing` has a state besides."""
    models = tmp_path_factory.mktemp("guarded") / "models"

    def add(name: str, limits: ActionLimits, **reactions: Any) -> None:
        guard = Guard(schema_version=1, actions={"action": limits}, **reactions)
        guarded(gaussian_policy(models, name, brittle=True), guard)

    add("ranged", ActionLimits(maximum=1.0, safe=0.25))
    add("slowed", ActionLimits(change_per_step=0.5, safe=0.25))
    add("strict", ActionLimits(maximum=1.0), out_of_range="refuse", non_finite="refuse")
    whole = ActionLimits(maximum=0, safe=0)
    guarded(summing_policy(models), Guard(schema_version=1, actions={"action": whole}, out_of_range="hold"))
    with running_server(models, models.with_name("log"), "--grpc-port", "0") as running:
        yield running


def over_json(server: Server, policy: str, row: list[float], lane: str = "hot") -> Answered:
    answer = server.ask(act_request({"observation": row}, path=f"/v1/policies/{policy}/act", lane=lane))
    if answer.status != 200:
        return Answered(refusal=answer.detail)
    return Answered(answer.json["action"], answer.json.get("guarded", {}))


def over_fastapi(server: Server, policy: str, row: list[float]) -> Answered:
    return over_json(server, policy, row, "query")


def over_options(server: Server, policy: str, row: list[float]) -> Answered:
    """A request that is not plain."""
    body = {"observation": row, "outputs": ["loc"]}
    answer = server.ask(act_request(body, path=f"/v1/policies/{policy}/act"))
    if answer.status != 200:
        return Answered(refusal=answer.detail)
    return Answered(answer.json["action"], answer.json.get("guarded", {}))


def over_octets(server: Server, policy: str, row: list[float]) -> Answered:
    content = real(row).tobytes()
    answer = server.ask(act_request(content, path=f"/v1/policies/{policy}/act", media_type=OCTETS))
    if answer.status != 200:
        return Answered(refusal=answer.detail)
    told = json.loads(answer.headers.get("rlway-guarded", "{}"))
    return Answered(np.frombuffer(answer.body, np.float32), told)


def stream_to(server: Server, policy: str, kind: str = "stream") -> ClientConnection:
    url = f"ws://{server.host}:{server.port}/v1/policies/{policy}/{kind}"
    opened: ClientConnection = connect(url, open_timeout=ANSWER_S, compression=None)
    return opened


def over_text_frames(server: Server, policy: str, row: list[float]) -> Answered:
    with stream_to(server, policy) as stream:
        stream.send(json.dumps({"observation": row}))
        answer = json.loads(stream.recv(ANSWER_S))
    return Answered(answer.get("action"), answer.get("guarded", {}), answer.get("detail", ""))


def over_binary_frames(server: Server, policy: str, row: list[float]) -> Answered:
    with stream_to(server, policy) as stream:
        stream.send(real(row).tobytes())
        answer = stream.recv(ANSWER_S)
    if isinstance(answer, str):
        return Answered(refusal=json.loads(answer)["detail"])
    return Answered(np.frombuffer(answer, np.float32))


def over_openpi(server: Server, policy: str, row: list[float]) -> Answered:
    with stream_to(server, policy, "openpi") as stream:
        stream.recv(ANSWER_S)
        stream.send(pack({"observation": real(row)}))
        answer = stream.recv(ANSWER_S)
    if isinstance(answer, str):
        return Answered(refusal=answer)
    content = unpack(answer)
    return Answered(content["actions"][0], content.get("guarded", {}))


def over_openpi_with_keys(server: Server, policy: str, row: list[float]) -> Answered:
    """A message that is not plain."""
    with stream_to(server, policy, "openpi") as stream:
        stream.recv(ANSWER_S)
        stream.send(pack({"observation": real(row), "server_timing": True}))
        answer = stream.recv(ANSWER_S)
    if isinstance(answer, str):
        return Answered(refusal=answer)
    content = unpack(answer)
    return Answered(content["actions"][0], content.get("guarded", {}))


def over_oip(server: Server, policy: str, row: list[float], **fields: Any) -> Answered:
    tensor = {"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": row}
    answer = server.ask(act_request({"inputs": [tensor]} | fields, path=f"/v2/models/{policy}/infer"))
    if answer.status != 200:
        return Answered(refusal=answer.json["error"])
    length = int(answer.headers.get("inference-header-content-length", len(answer.body)))
    content = json.loads(answer.body[:length])
    assert content.get("id") == fields.get("id")
    output = next(one for one in content["outputs"] if one["name"] == "action")
    octets = answer.body[length:]
    told = output.get("parameters", {}).get("guarded")
    action = output.get("data") or np.frombuffer(octets, np.float32)
    return Answered(action, {"action": told.split(",")} if told else {})


def over_oip_octets(server: Server, policy: str, row: list[float]) -> Answered:
    return over_oip(server, policy, row, id="a-1", parameters={"binary_data_output": True})


def over_oip_outputs(server: Server, policy: str, row: list[float]) -> Answered:
    return over_oip(server, policy, row, id="a-2", outputs=[{"name": "action"}, {"name": "loc"}])


def of_message(answer: ModelInferResponse) -> Answered:
    (output,), (raw,) = answer.outputs, answer.raw_output_contents
    told = output.parameters["guarded"].string_param if "guarded" in output.parameters else ""
    return Answered(np.frombuffer(raw, np.float32), {"action": told.split(",")} if told else {})


def over_oip_grpc(server: Server, policy: str, row: list[float]) -> Answered:
    outcome = ask(server, INFER, infer([row], policy, id="one"))
    if outcome.code != "OK":
        return Answered(refusal=outcome.sentence)
    answer = ModelInferResponse.FromString(outcome.answer)
    assert answer.id == "one"
    return of_message(answer)


def over_oip_stream(server: Server, policy: str, row: list[float]) -> Answered:
    with channel_to(server) as channel:
        talk = Talk(channel)
        talk.send(infer([row], policy))
        answer = read_streamed(talk.receive())
        talk.end()
    return Answered(refusal=answer.error_message) if answer.error_message else of_message(answer.infer_response)


def over_tfs(server: Server, policy: str, row: list[float]) -> Answered:
    answer = server.ask(act_request({"instances": [row]}, path=f"/v1/models/{policy}:predict"))
    return Answered(refusal=answer.json["error"]) if answer.status != 200 else Answered(answer.json["predictions"][0])


def over_tfs_grpc(server: Server, policy: str, row: list[float]) -> Answered:
    outcome = ask(server, PREDICT, predict([row], policy))
    if outcome.code != "OK":
        return Answered(refusal=outcome.sentence)
    return Answered(np.frombuffer(read_prediction(outcome.answer).outputs["action"].tensor_content, np.float32))


STREAMS = (over_text_frames, over_binary_frames, over_openpi, over_openpi_with_keys)
CALLS = (
    over_json,
    over_fastapi,
    over_options,
    over_octets,
    over_oip,
    over_oip_octets,
    over_oip_outputs,
    over_oip_grpc,
    over_oip_stream,
    over_tfs,
    over_tfs_grpc,
)
Way = Callable[[Server, str, list[float]], Answered]
every_way = pytest.mark.parametrize("way", [*STREAMS, *CALLS], ids=lambda way: way.__name__)


@every_way
def test_an_action_comes_within_its_limits(server: Server, way: Way) -> None:
    """The answer says what was violated, if there is a place to say it; one that is sound says nothing."""
    for row in (SMALL, LARGE, BROKEN):
        action, rule = RANGED[row[0]]
        found = way(server, "ranged", row)
        np.testing.assert_allclose(np.ravel(found.action), real(action), rtol=1e-6)
        assert found.guarded in (None, {"action": [rule]} if rule else {})


@every_way
def test_an_action_that_the_guard_refuses_is_a_refusal(server: Server, way: Way) -> None:
    """In the protocol's own form, with the same sentence."""
    assert not way(server, "strict", SMALL).refusal
    assert "action[0]: the guard refuses an action that is out_of_range: expected -Infinity to 1, got 1.52319." in (
        way(server, "strict", LARGE).refusal
    )
    assert "action[0]: the guard refuses an action that is non_finite: expected a finite number, got NaN." in (
        way(server, "strict", BROKEN).refusal
    )


@pytest.mark.parametrize("way", CALLS, ids=lambda way: way.__name__)
def test_limits_of_changes_need_an_episode(server: Server, way: Way) -> None:
    """Without one, the guard could not apply: one sentence says what to send."""
    refusal = way(server, "slowed", SMALL).refusal
    assert "episode: expected an id, with `first` where it begins, or a stream: the guard limits changes, got none" in (
        refusal
    )


@pytest.mark.parametrize("kind", ["text", "binary", "openpi"])
def test_a_stream_is_an_episode(server: Server, kind: str) -> None:
    """Each action is at most one step from the one that the guard gave before; each stream has its own."""
    for _ in range(2):
        with stream_to(server, "slowed", "openpi" if kind == "openpi" else "stream") as stream:
            if kind == "openpi":
                stream.recv(ANSWER_S)
            found = []
            for row in (SMALL, LARGE, LARGE, BROKEN):
                content: Any = real(row)
                message = {"text": json.dumps({"observation": row}), "openpi": pack({"observation": content})}
                stream.send(message.get(kind, content.tobytes()))
                answer: Any = stream.recv(ANSWER_S)
                if kind == "text":
                    found.append(json.loads(answer)["action"])
                else:
                    found.append(unpack(answer)["actions"][0] if kind == "openpi" else np.frombuffer(answer, "<f4"))
        first = real(FREE[0])
        step = real([0.5, -0.5])
        np.testing.assert_allclose(found, [first, first + step, first + step + step, first + step + step], rtol=1e-6)


def test_the_action_before_lives_with_the_episode(server: Server) -> None:
    """`first` forgets it, and an episode of several environments has one for each."""
    with PolicyClient(server.url, "slowed", episode="mine") as policy:
        first = policy.act(SMALL)
        reply = policy.ask(LARGE)
        np.testing.assert_allclose(reply.action, first + real([0.5, -0.5]), rtol=1e-6)
        assert reply.guarded == {"action": ["too_fast"]}
        policy.reset()
        np.testing.assert_allclose(policy.act(LARGE), FREE[1], rtol=1e-6)
    with PolicyClient(server.url, "slowed", episode="ours") as policy:
        together = policy.ask([SMALL, LARGE], batched=True)
        assert together.guarded == []
        reply = policy.ask([LARGE, LARGE], batched=True)
        np.testing.assert_allclose(reply.action, [together.action[0] + real([0.5, -0.5]), FREE[1]], rtol=1e-6)
        assert reply.guarded == [{"action": ["too_fast"]}, {}]
        with pytest.raises(SpecViolated, match="expected 2, as at the step before, got 1"):
            policy.act_batch([SMALL])


def test_every_protocol_with_episodes_names_them(server: Server) -> None:
    """OIP by `sequence_id`, TensorFlow Serving's by `episode`; each with its own beginning."""
    tensor = {"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": SMALL}
    named = {"sequence_id": 7, "sequence_start": True}
    path = "/v2/models/slowed/infer"
    assert server.ask(act_request({"inputs": [tensor], "parameters": named}, path=path)).status == 200
    later = {"inputs": [tensor | {"data": LARGE}], "parameters": {"sequence_id": 7}}
    (output,) = server.ask(act_request(later, path=path)).json["outputs"]
    assert output["parameters"] == {"guarded": "too_fast"}
    path = "/v1/models/slowed:predict"
    begin = {"inputs": {"observation": [SMALL], "step_type": [0]}, "episode": "tfs"}
    assert server.ask(act_request(begin, path=path)).status == 200
    found = server.ask(act_request({"inputs": {"observation": [LARGE]}, "episode": "tfs"}, path=path)).json["outputs"]
    np.testing.assert_allclose(found[0], real(FREE[0]) + real([0.5, -0.5]), rtol=1e-6)


def test_a_policy_with_state_is_held_within_its_episode(server: Server) -> None:
    """`hold` gives the action before, and the policy's state goes on."""
    with PolicyClient(server.url, "summing", episode="held") as policy:
        found = [policy.ask(row) for row in ([1, 0, 0, 0], [-9, 0, 0, 0], [9, 0, 0, 0])]
    assert [reply.action for reply in found] == [0, 0, 0]
    assert [reply.guarded for reply in found] == [{}, {"action": ["out_of_range"]}, {}]


def test_clients_raise_what_the_guard_refuses(server: Server) -> None:
    """As an error of its own, which tells it from an observation that does not fit."""
    with PolicyClient(server.url, "strict") as policy, pytest.raises(ActionRefused, match="out_of_range"):
        policy.act(LARGE)


def test_the_description_and_the_metrics_show_the_guard(server: Server) -> None:
    """What it limits, and how many actions violated each rule."""
    described = server.ask(get_request("/v1/policies/slowed")).json
    assert described["guard"]["actions"] == {"action": {"change_per_step": 0.5, "safe": 0.25}}
    before = count(server)
    over_json(server, "ranged", LARGE)
    server.ask(act_request({"observations": [LARGE, SMALL, BROKEN]}, path="/v1/policies/ranged/act"))
    after = count(server)
    assert (after["out_of_range"] - before["out_of_range"], after["non_finite"] - before["non_finite"]) == (2, 1)


def count(server: Server) -> dict[str, float]:
    prefix = 'rlway_guarded_actions_total{action="action",policy="ranged",rule="'
    found = {"out_of_range": 0.0, "non_finite": 0.0}
    for line in server.ask(get_request("/metrics")).body.decode().splitlines():
        if line.startswith(prefix):
            rule, _, value = line.removeprefix(prefix).partition('"} ')
            found[rule] = float(value)
    return found


def test_repeated_requests_are_guarded_as_well(server: Server) -> None:
    """They take the shortest way, over one connection: without the application, without an object of their own."""
    request = act_request({"observation": LARGE}, path="/v1/policies/ranged/act")
    sound = act_request({"observation": SMALL}, path="/v1/policies/ranged/act")
    refused = act_request({"observation": LARGE}, path="/v1/policies/strict/act")
    with server.connect() as wire:
        for _ in range(4):
            wire.send(request)
            assert wire.answer().json["guarded"] == {"action": ["out_of_range"]}
        for _ in range(3):
            wire.send(sound)
            assert "guarded" not in wire.answer().json
        for _ in range(3):
            wire.send(refused)
            assert wire.answer().status == 422


def test_a_guard_that_contradicts_its_policy_is_not_served(tmp_path: Path) -> None:
    """The version is reported as unsound, with the sentence."""
    models = tmp_path / "models"
    wrong = Guard(schema_version=1, actions={"action": ActionLimits(maximum=5.0, safe=0.0)})
    gaussian_policy(models)
    guarded(gaussian_policy(models, version=2), wrong)
    with running_server(models, tmp_path / "log") as running:
        described = running.ask(get_request("/v1/policies/gaussian")).json
    assert described["version"] == 1
    assert described["guard"] is None
    (failed,) = described["failed"]
    assert failed["detail"].startswith("gaussian/2/guard.json: actions.action.maximum[0]: expected -2 to 2")
