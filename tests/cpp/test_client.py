"""The C++ client beside the Python client: the same actions, the same errors in the same words."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client import PolicyClient
from rlway_client.contract.errors import RlwayError
from rlway_client.contract.exploration import Explore
from tests.bundles import BIAS, WEIGHTS
from tests.cpp.compiled import Driver, kind_of, numbers
from tests.middleman import Middleman
from tests.ports import free_port
from tests.servers import Server, running_server

OBSERVATIONS = np.random.default_rng(28).normal(size=(200, 4)).astype(np.float32) * np.float32(3)


def actions(driver: Driver, command: str, rows: Any = OBSERVATIONS) -> list[Any]:
    """The action for each row; a single number for one of one number."""
    answers = driver.tell_all([f"{command} : {numbers(row)}" for row in rows])
    assert all("action" in answer for answer in answers), answers
    return [answer["action"][0] if len(answer["action"]) == 1 else answer["action"] for answer in answers]


@pytest.mark.parametrize(("policy", "kind"), [("linear", "int"), ("gaussian", "float")])
def test_actions_are_those_of_the_python_client(driver: Driver, server: Server, policy: str, kind: str) -> None:
    """Discrete and continuous, as JSON and as raw rows."""
    with PolicyClient(server.url, policy) as client:
        expected = [np.asarray(client.act(row)).tolist() for row in OBSERVATIONS]
    driver.tell("client", server.url, policy, "", 60000, "")
    assert actions(driver, f"ask {kind}") == expected
    raw = driver.tell_all([f"act {kind} {1 if kind == 'int' else 2} {numbers(row)}" for row in OBSERVATIONS])
    assert [row["action"] for row in raw] == [np.atleast_1d(action).tolist() for action in expected]
    assert {row["version"] for row in raw} == {2 if policy == "linear" else 1}


def test_sampled_actions_have_their_seed(driver: Driver, server: Server) -> None:
    """Exploration and seed go with the request, and a default policy needs no name."""
    driver.tell("client", server.url, "", "", 60000, "")
    with PolicyClient(server.url) as client:
        expected = [client.act(row, explore=Explore(temperature=2.0), seed=7) for row in OBSERVATIONS]
    assert actions(driver, "ask int temperature=2 seed=7") == expected


def test_a_policy_with_state_has_an_episode(driver: Driver, server: Server) -> None:
    """`reset` begins the next one."""
    driver.tell("client", server.url, "summing", "", 60000, "in-cpp")
    with PolicyClient(server.url, "summing", episode="in-python") as client:
        for _ in range(2):
            expected = [client.act(row) for row in OBSERVATIONS[:50]]
            assert actions(driver, "ask int", OBSERVATIONS[:50]) == expected
            client.reset()
            driver.tell("reset")


def test_observations_of_several_arrays(driver: Driver, server: Server) -> None:
    """Keys nest as the policy nests them, and every type and shape has its JSON."""
    driver.tell("client", server.url, "robot", "", 60000, "")
    camera, arm = np.array([3, 200], np.uint8), OBSERVATIONS[0, :3]
    with PolicyClient(server.url, "robot") as client:
        expected = client.act({"camera": camera, "joints": {"arm": arm}})
    assert driver.tell("nested", numbers([*camera, *arm]))["action"] == [expected]
    assert driver.tell("written", "1 2 3 4") == {
        'a"b': {"x": [[[1.0, 2.0]], [[3.0, 4.0]]], "y": {"z": -7, "v": [True]}},
        "last": -7,
    }


def test_a_policy_is_described(driver: Driver, server: Server) -> None:
    """Sizes count the numbers of all parts."""
    for policy, said in {
        "": ["linear", 2, 4, 1, False],
        "robot": ["robot", 1, 5, 1, False],
        "gaussian": ["gaussian", 1, 4, 2, False],
        "summing": ["summing", 1, 4, 1, True],
    }.items():
        driver.tell("client", server.url, policy, "", 60000, "")
        assert driver.tell("describe") == said


@pytest.mark.parametrize(
    ("policy", "options", "row"),
    [
        ("absent", {}, [0, 0, 0, 0]),
        ("linear", {"version": 7}, [0, 0, 0, 0]),
        ("linear", {"label": "absent"}, [0, 0, 0, 0]),
        ("linear", {"seed": -1}, [0, 0, 0, 0]),
        ("linear", {}, [0, 0, 0]),
        ("linear", {}, [1e39, 0, 0, 0]),
        ("linear", {}, [0, np.nan, 0, 0]),
        ("linear", {}, [0, 0, 0, -np.inf]),
        ("summing", {}, [0, 0, 0, 0]),
    ],
)
def test_errors_have_the_words_of_the_python_client(
    driver: Driver, server: Server, policy: str, options: dict[str, Any], row: list[float]
) -> None:
    """Whether the server refuses or the client does, and its kind is the name of the Python class."""
    with np.errstate(over="ignore"):
        observation = np.array(row, np.float32)
    with PolicyClient(server.url, policy) as client, pytest.raises(RlwayError) as caught:
        client.ask(observation, **options)
    driver.tell("client", server.url, policy, "", 60000, "")
    written = " ".join(f"{name}={value}" for name, value in options.items())
    answer = driver.tell(f"ask int {written}", ":", numbers(observation))
    assert (kind_of(answer), answer["error"]) == (type(caught.value).__name__, str(caught.value))


def test_keys_are_asked_for(driver: Driver, models: Path, tmp_path: Path) -> None:
    """Without the key, with a wrong one and with the right one; over the stream as well."""
    (tmp_path / "keys").write_text("secret\n")
    with running_server(models, tmp_path / "log", "--api-keys", str(tmp_path / "keys")) as server:
        for key in ("", "wrong"):
            with PolicyClient(server.url, "linear", key=key) as client, pytest.raises(RlwayError) as caught:
                client.act(OBSERVATIONS[0])
            driver.tell("client", server.url, "linear", key, 60000, "")
            driver.tell("stream", server.url, "linear", key, 60000, "")
            for answer in (driver.tell("ask int :", "0 0 0 0"), driver.tell("send", "0 0 0 0")):
                assert (kind_of(answer), answer["error"]) == (type(caught.value).__name__, str(caught.value))
        driver.tell("client", server.url, "linear", "secret", 60000, "")
        assert "action" in driver.tell("ask int :", "0 0 0 0")
        driver.tell("stream", server.url, "linear", "secret", 60000, "")
        assert driver.tell("send", "0 0 0 0") == {}
        assert "action" in driver.tell("receive int", 1)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://robot", r"URL 'https://robot': expected http://HOST:PORT; for https, put a proxy in between\."),
        *((url, r"expected http://HOST:PORT") for url in ("robot:80", "http://", "http://a:b", "http://a:70000")),
        *((url, r"expected http://HOST:PORT") for url in ("http://u@h", "http://[::1", "http://h?x", "http://1:2:3")),
        ("http://nowhere.invalid", r"http://nowhere\.invalid:80: no policy server answers there: .*known"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(driver: Driver, url: str, words: str) -> None:
    """When the client is opened, before the control loop."""
    for command in ("client", "stream"):
        assert re.search(words, driver.tell(command, url, "linear", "", 1000, "")["error"])


def test_a_server_that_is_gone(driver: Driver) -> None:
    """The reason is the system's."""
    url = f"http://127.0.0.1:{free_port()}"
    with PolicyClient(url, "linear") as client, pytest.raises(RlwayError) as caught:
        client.act(OBSERVATIONS[0])
    driver.tell("client", url, "linear", "", 1000, "")
    driver.tell("stream", url, "linear", "", 1000, "")
    for answer in (driver.tell("ask int :", "0 0 0 0"), driver.tell("send", "0 0 0 0")):
        assert (kind_of(answer), answer["error"]) == ("ServerUnreachable", str(caught.value))


@pytest.mark.parametrize("breaks", ["frozen", "swallowed", "delayed"])
def test_an_answer_that_is_late_is_never_taken_for_the_next(
    driver: Driver, server: Server, between: Middleman, breaks: str
) -> None:
    """The connection is dropped, over HTTP and over a stream, and the next request opens another."""
    scores = OBSERVATIONS @ WEIGHTS + BIAS
    rows = [OBSERVATIONS[(scores.argmax(axis=1) == action).argmax()] for action in (0, 1)]
    driver.tell("client", between.url, "linear", "", 60000, "")
    driver.tell("stream", between.url, "linear", "", 60000, "")
    assert actions(driver, "ask int", rows) == [0, 1]
    assert driver.tell("send", numbers(rows[0])) == {}
    assert driver.tell("receive int 1")["action"] == [0]
    driver.tell("timeout", 200)
    if breaks == "frozen":
        server.process.send_signal(signal.SIGSTOP)
    between.swallows, between.delay_s = breaks == "swallowed", 0.6 * (breaks == "delayed")
    try:
        late = f"{between.url}: no answer within 0.2 s."
        assert driver.tell("ask int :", numbers(rows[0]))["error"] == late
        assert driver.tell("send", numbers(rows[0])) == {}
        assert driver.tell("receive int 1")["error"] == late
        assert "expected a row in flight, got none" in driver.tell("receive int 1")["error"]
    finally:
        server.process.send_signal(signal.SIGCONT)
        between.swallows, between.delay_s = False, 0.0
    driver.tell("timeout", 60000)
    assert actions(driver, "ask int", rows[::-1]) == [1, 0]
    assert driver.tell("send", numbers(rows[1])) == {}
    assert driver.tell("receive int 1")["action"] == [1]


def test_a_server_that_closed_a_kept_connection_is_asked_again(
    driver: Driver, models: Path, tmp_path: Path, between: Middleman
) -> None:
    """As after a restart: the caller notices nothing."""
    with running_server(models, tmp_path / "first", "--default", "linear") as server:
        between.server = server.host, server.port
        driver.tell("client", between.url, "", "", 60000, "")
        first = actions(driver, "ask int")
    with running_server(models, tmp_path / "again", "--default", "linear") as server:
        between.server = server.host, server.port
        assert actions(driver, "ask int") == first


@pytest.mark.parametrize("way", ["raw", "json", "stream"])
def test_actions_allocate_nothing(driver: Driver, server: Server, way: str) -> None:
    """Not after the first answers, JSON with outputs among them; also where no text is a short one."""
    url, policy = f"http://127.000.000.001:{server.port}", "long-name-of-a-linear-policy"
    driver.tell("client", url, policy, "", 60000, "")
    driver.tell("stream", url, policy, "", 60000, "")
    assert driver.tell("allocations", way, 100)["allocations"] == 0


def test_a_client_that_sleeps_at_once_acts_alike(driver: Driver, server: Server) -> None:
    """It waits for an answer without looking for it first."""
    driver.tell("client", server.url, "linear", "", 60000, "")
    driver.tell("sleep")
    assert actions(driver, "ask int") == (OBSERVATIONS @ WEIGHTS + BIAS).argmax(axis=1).tolist()


def test_looks_that_find_nothing_become_rare(driver: Driver) -> None:
    """After each, the thread sleeps at once for twice as many waits, up to 64; one that finds an answer begins anew."""
    always = driver.tell("spin", *["found"] * 20)
    assert always == [True] * 20
    waits = driver.tell("spin", *["nothing"] * 400)
    looks = np.flatnonzero(waits)
    assert np.diff(looks).tolist() == [2, 3, 5, 9, 17, 33, 65, 65, 65, 65, 65]
    again = driver.tell("spin", *["nothing"] * looks[3], *["found"] * 4)
    assert again[looks[3] :] == [True] * 4


def test_an_action_of_another_type_is_said(driver: Driver, server: Server) -> None:
    """Numbers are neither cut nor taken for bytes of another type."""
    driver.tell("client", server.url, "gaussian", "", 60000, "")
    answer = driver.tell("ask int :", "0.1 0.2 0.3 0.4")
    assert (kind_of(answer), answer["error"][:31]) == ("UsageError", "action: expected numbers of the")
    answer = driver.tell("act int 2", "0.1 0.2 0.3 0.4")
    assert answer["error"].startswith("action: expected room for the answer's 8 bytes, got 16;")
    assert "action" in driver.tell("act float 2", "0.1 0.2 0.3 0.4")
