"""Binary frames with details: the version that answered, and what its guard changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from rlway_client.contract.detailed_frames import SUBPROTOCOL, read_frame
from rlway_client.contract.guard import ActionLimits, Guard
from tests.bundles import gaussian_policy, linear_policy
from tests.replaying import guarded
from tests.servers import ANSWER_S, OCTETS, Server, act_request, get_request, running_server, wait_until

ROWS = np.random.default_rng(3).normal(size=(40, 4)).astype(np.float32)
DETAILS = Subprotocol(SUBPROTOCOL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`linear` is discrete, so its answers are prepared and shared; `ranged` has a guard, and continuous actions."""
    models = tmp_path_factory.mktemp("detailed") / "models"
    linear_policy(models, version=7)
    limits = ActionLimits(maximum=1.0, safe=0.25)
    guarded(gaussian_policy(models, "ranged"), Guard(schema_version=1, actions={"action": limits}))
    with running_server(models, models.with_name("log")) as running:
        yield running


def stream_to(server: Server, policy: str, *offered: str) -> ClientConnection:
    url = f"ws://{server.host}:{server.port}/v1/policies/{policy}/stream"
    subprotocols = [Subprotocol(one) for one in offered] or None
    opened: ClientConnection = connect(url, open_timeout=ANSWER_S, compression=None, subprotocols=subprotocols)
    return opened


def receive(stream: ClientConnection) -> bytes:
    frame = stream.recv(ANSWER_S)
    assert isinstance(frame, bytes)
    return frame


@pytest.mark.parametrize("policy", ["linear", "ranged"])
@pytest.mark.parametrize("rows", [1, 7])
def test_a_frame_says_what_http_says_in_headers(server: Server, policy: str, rows: int) -> None:
    """The same actions, version and rules, for one row and for several; and as JSON says them."""
    changed = 0
    with stream_to(server, policy, SUBPROTOCOL) as stream:
        assert stream.subprotocol == SUBPROTOCOL
        for start in range(0, len(ROWS) - rows, rows):
            octets = ROWS[start : start + rows].tobytes()
            stream.send(octets)
            found = read_frame(receive(stream))
            posted = server.ask(act_request(octets, path=f"/v1/policies/{policy}/act", media_type=OCTETS))
            assert found.actions == posted.body
            assert found.version == int(posted.headers["rlway-version"]) == (7 if policy == "linear" else 1)
            assert found.guarded == json.loads(posted.headers.get("rlway-guarded", "{}"))
            changed += bool(found.guarded)
    assert (changed > 0) == (policy == "ranged")


def test_frames_without_details_stay_as_they_were(server: Server) -> None:
    """On connections beside one with details, which share prepared answers with it; whatever else they offer."""
    with (
        stream_to(server, "linear", SUBPROTOCOL) as detailed,
        stream_to(server, "linear") as plain,
        stream_to(server, "linear", "chat", "v2.chat") as offering,
        stream_to(server, "linear", "chat", SUBPROTOCOL) as choosing,
    ):
        assert (plain.subprotocol, offering.subprotocol, choosing.subprotocol) == (None, None, SUBPROTOCOL)
        for row in ROWS:
            for stream in (detailed, plain, offering, choosing):
                stream.send(row.tobytes())
            action, *others = (receive(stream) for stream in (plain, offering, detailed, choosing))
            assert len(action) == 8
            assert others == [action, others[1], others[1]]
            assert read_frame(others[1]) == (action, 7, {})


def test_text_frames_and_refusals_are_the_same_with_details(server: Server) -> None:
    """They say the version and the rules already; and refusals of binary frames are text."""
    with stream_to(server, "ranged", SUBPROTOCOL) as detailed, stream_to(server, "ranged") as plain:
        frames: list[str | bytes] = [
            json.dumps({"observation": ROWS[0].tolist()}),
            "{}",
            b"123",
            np.full(4, np.nan, "<f4").tobytes(),
        ]
        for frame in frames:
            for stream in (detailed, plain):
                stream.send(frame)
            answers = {stream.recv(ANSWER_S) for stream in (detailed, plain)}
            assert len(answers) == 1
            assert isinstance(answers.pop(), str)
        detailed.send(ROWS[0].tobytes())
        assert read_frame(receive(detailed)).version == 1


def test_answers_in_flight_keep_their_order(server: Server) -> None:
    """Many frames at once, some of them text."""
    with stream_to(server, "linear", SUBPROTOCOL) as stream:
        for i, row in enumerate(ROWS):
            stream.send(json.dumps({"observation": row.tolist()}) if i % 5 == 0 else row.tobytes())
        answers = [stream.recv(ANSWER_S) for _ in ROWS]
    found = [
        json.loads(answer)["action"]
        if isinstance(answer, str)
        else int.from_bytes(read_frame(answer).actions, "little")
        for answer in answers
    ]
    posted = server.ask(act_request({"observations": ROWS.tolist()}))
    assert found == posted.json["actions"]


def test_the_page_shows_how_to_read_them(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The example, as it is printed apart from the address and the policy."""
    page = (Path(__file__).parents[3] / "docs/serving.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "read_frame" in code)
    here = example.replace("localhost:8080", f"{server.host}:{server.port}").replace("cartpole", "linear")
    exec(compile(here, "serving.md", "exec"), {})
    assert capsys.readouterr().out == "[0] 7 {}\n"


def test_other_protocols_have_no_details(server: Server) -> None:
    """openpi's messages say the version themselves."""
    url = f"ws://{server.host}:{server.port}/v1/policies/linear/openpi"
    with connect(url, open_timeout=ANSWER_S, compression=None, subprotocols=[DETAILS]) as stream:
        assert stream.subprotocol is None


def test_a_swap_of_versions_shows_in_the_frames(tmp_path: Path) -> None:
    """Which is what they are for: between two frames another version may have become active."""
    models = tmp_path / "models"
    linear_policy(models)
    with (
        running_server(models, tmp_path / "log", "--poll-s", "0.05") as server,
        stream_to(server, "linear", SUBPROTOCOL) as stream,
    ):
        stream.send(ROWS[0].tobytes())
        assert read_frame(receive(stream)).version == 1
        linear_policy(models, version=2, bias=1.0)
        wait_until(
            lambda: server.ask(get_request("/v1/policies/linear")).json["version"] == 2, "version 2 to be active"
        )
        stream.send(ROWS[0].tobytes())
        assert read_frame(receive(stream)).version == 2
