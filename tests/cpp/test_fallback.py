"""The C++ client with a fallback: an action for every observation, whatever the server does, and who gave it.

The claims are those of the Python client's fallback, in tests/clients/remote/fallback.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client import EdgePolicy
from tests.bundles import BIAS, WEIGHTS
from tests.cpp.compiled import Driver, kind_of, numbers
from tests.middleman import Middleman, delay, middleman, stop, swallow
from tests.ports import free_port, wait_for
from tests.servers import Server, running_server

PROMPT_MS = 500  # a server that works answers sooner, also on a busy machine
SOON_MS = 60  # for servers that do not answer
OBSERVATIONS = np.random.default_rng(3).normal(size=(64, 4)).astype(np.float32)
ACTIONS = (OBSERVATIONS @ WEIGHTS + BIAS).argmax(axis=1)
NOWHERE = f"http://127.0.0.1:{free_port()}"


def open_fallback(
    driver: Driver, url: str, local: str, within_ms: int = PROMPT_MS, policy: str = "linear", episode: str = ""
) -> dict[str, Any]:
    answer: dict[str, Any] = driver.tell("fallback", url, policy, "", 1000, episode, within_ms, local)
    return answer


def fall(driver: Driver, observation: Any, options: str = "") -> Any:
    return driver.tell(f"fall {options} :", numbers(observation))


def ask_until(driver: Driver, source: str) -> list[dict[str, Any]]:
    """Asks for one observation after the other until this source answers; each reply has the action for its own."""
    replies: list[dict[str, Any]] = []

    def asked() -> bool:
        row = len(replies) % len(OBSERVATIONS)
        replies.append(fall(driver, OBSERVATIONS[row]))
        assert replies[-1]["action"] == [ACTIONS[row]]
        return bool(replies[-1]["source"] == source)

    wait_for(asked, f"an answer from {source}")
    return replies


@pytest.mark.parametrize("breaks", [stop, swallow, delay])
def test_a_late_server_is_replaced_until_it_has_proved_itself(
    driver: Driver, server: Server, between: Middleman, breaks: Any
) -> None:
    """Frozen, cut off or slow: the local policy answers each observation with its own action, then the server does."""
    open_fallback(driver, between.url, "linear", SOON_MS)
    assert driver.tell("measure") == {}
    assert driver.tell("wait", 60000) == {}
    ask_until(driver, "server")
    mend = breaks(server, between)
    try:
        assert "no answer within" in ask_until(driver, "local")[-1]["why"]
        replies = [fall(driver, observation) for observation in OBSERVATIONS]
    finally:
        mend()
    assert [reply["action"][0] for reply in replies] == ACTIONS.tolist()
    assert {(reply["source"], reply["version"]) for reply in replies} == {("local", 2)}
    ask_until(driver, "server")
    state = driver.tell("state")
    assert state["late"] >= 1
    assert state["changes"] >= 3


def test_a_server_that_is_killed_and_starts_again(driver: Driver, models: Path, tmp_path: Path) -> None:
    """The new process is used as soon as it answers, and both changes are told."""
    with ExitStack() as stack:
        first = running_server(models, tmp_path / "first")
        server = first.__enter__()
        network = stack.enter_context(middleman(server.host, server.port))
        open_fallback(driver, network.url, "linear")
        assert driver.tell("wait", 60000) == {}
        ask_until(driver, "server")
        first.__exit__(None, None, None)
        ask_until(driver, "local")
        again = stack.enter_context(running_server(models, tmp_path / "again"))
        network.server = again.host, again.port
        ask_until(driver, "server")
    state = driver.tell("state")
    assert [side for side, _ in state["told"][:3]] == ["server", "local", "server"]
    assert all(why for _, why in state["told"])
    assert state["failed"] >= 1


def test_without_a_server_the_local_policy_acts_from_the_first_observation(driver: Driver) -> None:
    """A robot that starts before its network is ready."""
    open_fallback(driver, NOWHERE, "linear")
    replies = [fall(driver, observation) for observation in OBSERVATIONS]
    assert [reply["action"][0] for reply in replies] == ACTIONS.tolist()
    assert {reply["source"] for reply in replies} == {"local"}
    refused = driver.tell("wait", 50)
    assert kind_of(refused) == "ServerUnreachable"
    assert re.fullmatch(r"fallback: the server did not answer within 0\.05 s: .*", refused["error"])


def test_the_last_action_can_be_held(driver: Driver, between: Middleman) -> None:
    """Without a policy of its own, a client repeats what the server said last; before that, there is nothing."""
    open_fallback(driver, NOWHERE, "hold")
    refused = fall(driver, OBSERVATIONS[0])
    assert "no action to hold before the server's first one; pass an action" in refused["error"]
    open_fallback(driver, between.url, "hold", SOON_MS)
    assert driver.tell("wait", 60000) == {}
    given = ask_until(driver, "server")[-1]["action"]
    between.swallows = True
    replies = [fall(driver, observation) for observation in OBSERVATIONS[:8]]
    assert [(reply["action"], reply["source"]) for reply in replies] == [(given, "hold")] * 8
    assert driver.tell("state")["held"] == len(replies)


def test_a_fixed_action_can_stand_in(driver: Driver) -> None:
    """It is given as it is."""
    open_fallback(driver, NOWHERE, "fixed")
    reply = fall(driver, OBSERVATIONS[0])
    assert (reply["action"], reply["source"], reply["version"]) == ([7], "fixed", 0)


@pytest.mark.parametrize("broken", [[0, np.nan, 0, 0], [0, np.inf, 0, 0], [1, 2, 3]])
def test_an_observation_that_no_policy_takes_holds_the_last_action(
    driver: Driver, server: Server, broken: list[float]
) -> None:
    """It says nothing about the server, which goes on answering. Before the first action, zeros are held."""
    open_fallback(driver, server.url, "linear")
    assert driver.tell("wait", 60000) == {}
    assert fall(driver, broken)["action"] == [0]
    given = ask_until(driver, "server")[-1]["action"]
    reply = fall(driver, broken)
    assert (reply["action"], reply["source"]) == (given, "hold")
    assert "observation" in reply["why"]
    ask_until(driver, "server")
    state = driver.tell("state")
    assert (state["held"], state["failed"]) == (2, 0)


def test_a_local_policy_that_fails_holds_the_last_action(driver: Driver) -> None:
    """What it throws is the reason; so does what on_change throws, but nobody hears of it."""
    open_fallback(driver, NOWHERE, "throwing")
    reply = fall(driver, OBSERVATIONS[0])
    assert (reply["action"], reply["source"]) == ([0], "hold")
    assert reply["why"] == "the local policy failed: no luck"


def test_a_callback_that_fails_loses_no_action(driver: Driver, server: Server) -> None:
    """What it throws goes nowhere."""
    open_fallback(driver, server.url, "complaining")
    assert driver.tell("wait", 60000) == {}
    ask_until(driver, "server")


def test_an_observation_that_is_too_old_is_not_sent(driver: Driver, server: Server) -> None:
    """The deadline counts from when it was taken, and a late caller is not the server's failure."""
    open_fallback(driver, server.url, "linear")
    assert driver.tell("wait", 60000) == {}
    assert fall(driver, OBSERVATIONS[0], "age_ms=10000")["action"] == [ACTIONS[0]]
    state = driver.tell("state")
    assert (state["overdue"], state["local"], state["failed"], state["late"]) == (1, 1, 0, 0)
    assert state["side"] == "server"


def test_another_policy_is_never_mixed_with_the_server(driver: Driver, server: Server) -> None:
    """The local policy acts alone, and whoever waits for the server gets the reason."""
    open_fallback(driver, server.url, "linear", policy="gaussian")
    refused = driver.tell("wait", 60000)
    assert kind_of(refused) == "UsageError"
    assert "expected a bundle of 'gaussian', as the server serves, got one of 'linear'" in refused["error"]
    assert {fall(driver, observation)["source"] for observation in OBSERVATIONS} == {"local"}
    open_fallback(driver, server.url, "wide")
    assert "observation: expected 4 numbers, as the server serves it, got 5" in driver.tell("wait", 60000)["error"]


def test_another_version_is_told(driver: Driver, server: Server) -> None:
    """Its tensors are the same, so both sides act, and `skew` says that they differ."""
    open_fallback(driver, server.url, "old")
    assert driver.tell("wait", 60000) == {}
    ask_until(driver, "server")
    assert driver.tell("state")["skew"] == "the local bundle is version 1, and the server's version is 2"


def test_the_guard_comes_after_the_local_policy(driver: Driver) -> None:
    """It gets the action before, none at the beginning, and the rules that it applied are in the reply.

    What it refuses is not used: the last action is held.
    """
    open_fallback(driver, NOWHERE, "guarded")
    for _ in range(2):
        replies = [fall(driver, observation) for observation in OBSERVATIONS[:3]]
        assert [(reply["action"], reply["guarded"]) for reply in replies] == [([5], 1), ([6], 2), ([7], 2)]
        refused = fall(driver, OBSERVATIONS[3])
        assert (refused["action"], refused["source"]) == ([7], "hold")
        assert "its guard refuses its action" in refused["why"]
        driver.tell("begin")


def test_a_local_policy_with_state_sees_every_observation(driver: Driver, models: Path, between: Middleman) -> None:
    """Whoever answered before: its actions are those of a policy that played the whole episode."""
    alone = EdgePolicy(models / "summing/1", "model.onnx")
    open_fallback(driver, between.url, "summing", SOON_MS, "summing", "cpp-robot")
    assert driver.tell("wait", 60000) == {}
    sources = []
    for row, observation in enumerate(OBSERVATIONS):
        between.swallows = row >= 20
        reply = fall(driver, observation)
        sources.append(reply["source"])
        assert reply["action"] == [alone.act(observation)]
    assert sources[-40:] == ["local"] * 40
    between.swallows = False

    def begins_on_the_server() -> bool:
        driver.tell("begin")
        return bool(fall(driver, OBSERVATIONS[0])["source"] == "server")

    wait_for(begins_on_the_server, "an episode that the server plays from its beginning")
    alone.reset()
    alone.act(OBSERVATIONS[0])
    for observation in OBSERVATIONS[1:]:
        assert fall(driver, observation)["action"] == [alone.act(observation)]


def test_a_server_comes_back_within_an_episode_once_its_state_is_warm(driver: Driver, between: Middleman) -> None:
    """It has then seen the last 16 observations at least, in an episode of its own."""
    open_fallback(driver, between.url, "summing", SOON_MS, "summing", "cpp-warm")
    assert driver.tell("wait", 60000) == {}
    still = np.zeros(4, np.float32)
    fall(driver, still)
    between.swallows = True
    while fall(driver, still)["source"] == "server":
        pass
    between.swallows = False
    probed = driver.tell("state")["probes"]
    while fall(driver, still)["source"] == "local":
        time.sleep(0.002)  # a tick of the control loop
    assert driver.tell("state")["probes"] - probed >= 16


def test_an_overdue_step_of_a_policy_with_state_is_not_skipped_on_the_server(driver: Driver, server: Server) -> None:
    """The server's state lacks it, so the local policy goes on until the server is warm again."""
    open_fallback(driver, server.url, "summing", PROMPT_MS, "summing", "cpp-overdue")
    assert driver.tell("wait", 60000) == {}
    assert fall(driver, OBSERVATIONS[0])["source"] == "server"
    assert fall(driver, OBSERVATIONS[1], "age_ms=10000")["source"] == "local"
    assert fall(driver, OBSERVATIONS[2])["source"] == "local"
    assert driver.tell("state")["why"].startswith("an observation was older than the deadline")


def test_what_cannot_work_is_refused_at_once(driver: Driver) -> None:
    """A policy with state without an episode, a deadline that leaves no time, a URL that is none."""
    assert "a policy with state needs an `episode`" in open_fallback(driver, NOWHERE, "summing")["error"]
    refused = open_fallback(driver, NOWHERE, "linear", within_ms=1)
    assert refused["error"].startswith(
        "within: expected more than 1.0 ms, the time that the local policy needs, got 1 ms"
    )
    assert "expected http://HOST:PORT" in open_fallback(driver, "robot", "linear")["error"]


def test_an_error_of_the_server_is_its_failure(driver: Driver, server: Server) -> None:
    """Its sentence is the reason, whether it refuses the first request or a later one."""
    open_fallback(driver, server.url, "linear", policy="absent")
    assert {fall(driver, observation)["source"] for observation in OBSERVATIONS} == {"local"}
    assert "absent" in driver.tell("wait", 500)["error"]
    open_fallback(driver, server.url, "linear")
    assert driver.tell("wait", 60000) == {}
    refused = fall(driver, OBSERVATIONS[0], "version=7")
    assert (refused["action"], refused["source"]) == ([ACTIONS[0]], "local")
    assert "version 7" in refused["why"]
    assert driver.tell("state")["failed"] == 1


def test_actions_allocate_nothing(driver: Driver, server: Server) -> None:
    """Whoever answers: the server, or the local policy while the server is away."""
    for url, source in ((server.url, "server"), (NOWHERE, "local")):
        open_fallback(driver, url, "linear")
        driver.tell("wait", 50)

        def is_quiet(source: str = source) -> bool:  # not while the sides change
            return bool(driver.tell("allocations fallback 2000") == {"allocations": 0, "source": source})

        wait_for(is_quiet, f"2,000 actions of the {source} without an allocation")
