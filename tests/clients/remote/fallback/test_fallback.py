"""A client with a fallback: an action for every observation, whatever the server does, and who gave it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client import EdgePolicy, PolicyClient
from rlway_client.contract.errors import ServerUnreachable, UsageError
from tests.bundles import gaussian_policy, linear_policy, summing_policy
from tests.clients.conftest import AnyClient, Connect
from tests.clients.remote.fallback.conftest import (
    ACTIONS,
    OBSERVATIONS,
    PROMPT_MS,
    SOON_MS,
    ask_until,
    fallback_of,
    wait_for_server,
)
from tests.middleman import Middleman, delay, middleman, stop, swallow
from tests.ports import free_port, wait_for
from tests.servers import Server, running_server

NOWHERE = f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of one policy, another one, and one with state."""
    models = tmp_path_factory.mktemp("fallback") / "models"
    linear_policy(models)
    linear_policy(models, version=2)
    gaussian_policy(models)
    summing_policy(models)
    return models


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[Server]:
    with running_server(models, models.with_name("log")) as server:
        yield server


@pytest.fixture
def between(served: Server) -> Iterator[Middleman]:
    with middleman(served.host, served.port) as network:
        yield network


def edge(models: Path, policy: str = "linear", version: int = 2) -> EdgePolicy:
    return EdgePolicy(models / policy / str(version), "model.onnx")


@pytest.mark.parametrize("breaks", [stop, swallow, delay])
def test_a_late_server_is_replaced_until_it_has_proved_itself(
    connect: Connect, models: Path, served: Server, between: Middleman, breaks: Any
) -> None:
    """Frozen, cut off or slow: the local policy answers each observation with its own action, then the server does."""
    client = connect(between.url, "linear", fallback=edge(models), within_ms=SOON_MS)
    wait_for_server(client)
    ask_until(client, "server")
    mend = breaks(served, between)
    try:
        first = ask_until(client, "local")[-1]
        assert "no answer within" in str(first.why)
        for row, observation in enumerate(OBSERVATIONS):
            reply = client.ask(observation)
            assert (reply.action, reply.source, reply.version) == (ACTIONS[row], "local", 2)
    finally:
        mend()
    ask_until(client, "server")
    counts = fallback_of(client).counts
    assert counts.late >= 1
    assert counts.changes >= 3


def test_a_server_that_is_killed_and_starts_again(connect: Connect, models: Path, tmp_path: Path) -> None:
    """The new process is used as soon as it answers, and both changes are told."""
    told: list[tuple[str, str]] = []

    def tell(side: str, why: str) -> None:
        told.append((side, why))

    with ExitStack() as stack:
        first = running_server(models, tmp_path / "first")
        server = first.__enter__()
        network = stack.enter_context(middleman(server.host, server.port))
        client = connect(network.url, "linear", fallback=edge(models), within_ms=PROMPT_MS, on_change=tell)
        wait_for_server(client)
        ask_until(client, "server")
        first.__exit__(None, None, None)
        ask_until(client, "local")
        again = stack.enter_context(running_server(models, tmp_path / "again"))
        network.server = again.host, again.port
        ask_until(client, "server")
    assert [side for side, _ in told[:3]] == ["server", "local", "server"]
    assert all(why for _, why in told)
    assert fallback_of(client).counts.failed >= 1


def test_without_a_server_the_local_policy_acts_from_the_first_observation(connect: Connect, models: Path) -> None:
    """A robot that starts before its network is ready."""
    client = connect(NOWHERE, "linear", fallback=edge(models))
    replies = [client.ask(observation) for observation in OBSERVATIONS]
    assert [reply.action for reply in replies] == ACTIONS.tolist()
    assert {reply.source for reply in replies} == {"local"}
    with pytest.raises(ServerUnreachable, match="did not answer within"):
        wait_for_server(client, 0.05)


def test_the_last_action_can_be_held(connect: Connect, between: Middleman) -> None:
    """Without a policy of its own, a client repeats what the server said last."""
    client = connect(between.url, "linear", fallback="hold", within_ms=SOON_MS)
    wait_for_server(client)
    given = ask_until(client, "server")[-1].action
    between.swallows = True
    replies = [client.ask(observation) for observation in OBSERVATIONS[:8]]
    assert {(reply.action, reply.source) for reply in replies} == {(given, "hold")}
    assert fallback_of(client).counts.held == len(replies)


def test_there_is_nothing_to_hold_before_the_first_action(connect: Connect) -> None:
    """The error says what to pass in place of it."""
    client = connect(NOWHERE, "linear", fallback="hold")
    for _ in range(2):
        with pytest.raises(ServerUnreachable, match="no action to hold before the server's first one; pass an action"):
            client.act(OBSERVATIONS[0])
    wait_for(lambda: "no policy server answers there" in _why(client), "what the probes found")


def _why(client: AnyClient) -> str:
    fallback_of(client).collect()
    return fallback_of(client).why


def test_a_server_that_fails_at_its_first_action_is_not_asked_again_at_once(
    connect: Connect, between: Middleman
) -> None:
    """Also where there is nothing to hold: the failure counts."""
    client = connect(between.url, "linear", fallback="hold", within_ms=SOON_MS)
    wait_for_server(client)
    between.swallows = True
    with pytest.raises(ServerUnreachable, match="no action to hold"):
        client.act(OBSERVATIONS[0])
    assert (fallback_of(client).side, fallback_of(client).counts.late) == ("local", 1)


def test_a_fixed_action_can_stand_in(connect: Connect) -> None:
    """It is given as it is."""
    safe = np.zeros(2, np.float32)
    reply = connect(NOWHERE, "linear", fallback=safe).ask(OBSERVATIONS[0])
    assert (reply.action is safe, reply.source, reply.version) == (True, "fixed", 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observation_that_no_policy_takes_holds_the_last_action(
    connect: Connect, models: Path, served: Server, value: float
) -> None:
    """It says nothing about the server, which goes on answering."""
    client = connect(served.url, "linear", fallback=edge(models), within_ms=PROMPT_MS)
    wait_for_server(client)
    given = ask_until(client, "server")[-1].action
    broken = client.ask(np.array([0, value, 0, 0], np.float32))
    assert (broken.action, broken.source) == (given, "hold")
    assert "finite" in str(broken.why)
    ask_until(client, "server")
    assert (fallback_of(client).counts.held, fallback_of(client).counts.failed) == (1, 0)


def test_an_observation_that_is_too_old_is_not_sent(connect: Connect, models: Path, served: Server) -> None:
    """The deadline counts from when it was taken, and a late caller is not the server's failure."""
    client = connect(served.url, "linear", fallback=edge(models), within_ms=PROMPT_MS)
    wait_for_server(client)
    assert client.act(OBSERVATIONS[0], taken_s=time.monotonic() - 10) == ACTIONS[0]
    counts = fallback_of(client).counts
    assert (counts.overdue, counts.local, counts.failed, counts.late) == (1, 1, 0, 0)
    assert fallback_of(client).side == "server"


def test_a_step_that_the_server_has_missed_ends_its_turn(connect: Connect, models: Path, served: Server) -> None:
    """A policy with state lacks the step there, so the local one goes on until the server is warm again."""
    client = connect(served.url, "summing", episode="late", fallback=edge(models, "summing", 1), within_ms=PROMPT_MS)
    wait_for_server(client)
    alone = edge(models, "summing", 1)
    for row, observation in enumerate(OBSERVATIONS[:12]):
        late = time.monotonic() - 10 if row == 4 else None
        reply = client.ask(observation, taken_s=late)
        assert reply.action == alone.act(observation)
        assert (reply.source == "server") == (row < 4)


def test_a_bundle_of_another_policy_is_never_mixed_with_the_server(
    connect: Connect, models: Path, served: Server
) -> None:
    """The local policy acts alone, and whoever waits for the server gets the reason."""
    client = connect(served.url, "gaussian", fallback=edge(models))
    with pytest.raises(UsageError, match="expected a bundle of 'gaussian', as the server serves, got one of 'linear'"):
        wait_for_server(client)
    assert {client.ask(observation).source for observation in OBSERVATIONS} == {"local"}


def test_another_version_is_told(connect: Connect, models: Path, served: Server) -> None:
    """Its tensors are the same, so both sides act, and `skew` says that they differ."""
    client = connect(served.url, "linear", fallback=edge(models, version=1), within_ms=PROMPT_MS)
    wait_for_server(client)
    ask_until(client, "server")
    assert fallback_of(client).skew == "the local bundle is version 1, and the server's version is 2"


def test_a_local_policy_with_state_sees_every_observation(connect: Connect, models: Path, between: Middleman) -> None:
    """Whoever answered before: its actions are those of a policy that played the whole episode."""
    alone = edge(models, "summing", 1)
    expected = [alone.act(observation) for observation in OBSERVATIONS]
    client = connect(between.url, "summing", episode="robot", fallback=edge(models, "summing", 1), within_ms=SOON_MS)
    wait_for_server(client)
    sources = []
    for row, observation in enumerate(OBSERVATIONS):
        between.swallows = row >= 20
        reply = client.ask(observation)
        sources.append(reply.source)
        assert reply.action == expected[row]
    assert sources[-40:] == ["local"] * 40
    between.swallows = False

    def begins_on_the_server() -> bool:
        client.reset()
        return client.ask(OBSERVATIONS[0]).source == "server"

    wait_for(begins_on_the_server, "an episode that the server plays from its beginning")
    assert [client.act(observation) for observation in OBSERVATIONS[1:]] == expected[1:]


def test_a_server_comes_back_within_an_episode_once_its_state_is_warm(
    connect: Connect, models: Path, between: Middleman
) -> None:
    """It has then seen the last 16 observations at least, in an episode of its own."""
    client = connect(between.url, "summing", episode="robot", fallback=edge(models, "summing", 1), within_ms=SOON_MS)
    wait_for_server(client)
    still = np.zeros(4, np.float32)
    client.act(still)
    between.swallows = True
    while client.ask(still).source == "server":
        pass
    between.swallows = False
    probed = fallback_of(client).counts.probes
    while client.ask(still).source == "local":
        time.sleep(0.002)  # a tick of the control loop
    assert fallback_of(client).counts.probes - probed >= 16


def test_a_policy_with_state_needs_an_episode(models: Path) -> None:
    """Without an id the server could not keep its state."""
    with pytest.raises(UsageError, match=r"a policy with state, or .* needs an `episode`"):
        PolicyClient(NOWHERE, "summing", fallback=edge(models, "summing", 1))


def test_a_callback_that_fails_loses_no_action(connect: Connect, models: Path, served: Server) -> None:
    """Its error is logged."""

    def fails(*told: str) -> None:
        raise RuntimeError(told[1])

    client = connect(served.url, "linear", fallback=edge(models), within_ms=PROMPT_MS, on_change=fails)
    wait_for_server(client)
    ask_until(client, "server")


def test_a_deadline_leaves_time_for_the_local_policy(models: Path) -> None:
    """Otherwise it could not be kept."""
    with pytest.raises(
        UsageError, match=r"within_ms: expected more than \d+\.\d, the time that the local policy needs"
    ):
        PolicyClient(NOWHERE, "linear", fallback=edge(models), within_ms=1.0)


def test_several_observations_have_no_fallback(connect: Connect, models: Path) -> None:
    """A batch comes from a simulator, not from a robot."""
    with pytest.raises(UsageError, match="a fallback acts on one observation at a time"):
        connect(NOWHERE, "linear", fallback=edge(models)).act_batch(OBSERVATIONS)


def test_an_error_of_the_server_is_its_failure(connect: Connect, models: Path, served: Server) -> None:
    """Its sentence is the reason, whether it refuses the first request or a later one."""
    client = connect(served.url, "absent", fallback=edge(models))
    assert {client.ask(observation).source for observation in OBSERVATIONS} == {"local"}
    with pytest.raises(ServerUnreachable, match="absent"):
        wait_for_server(client, 0.2)

    client = connect(served.url, "linear", fallback=edge(models), within_ms=PROMPT_MS)
    wait_for_server(client)
    refused = client.ask(OBSERVATIONS[0], version=7)
    assert (refused.action, refused.source) == (ACTIONS[0], "local")
    assert "version 7" in str(refused.why)
    assert fallback_of(client).counts.failed == 1


def test_the_description_of_a_server_that_is_gone_does_not_end_the_fallback(models: Path, between: Middleman) -> None:
    """Its connection is another one."""
    with PolicyClient(between.url, "linear", fallback=edge(models), within_ms=SOON_MS, timeout_s=0.05) as client:
        between.swallows = True
        with pytest.raises(ServerUnreachable):
            client.describe()
        between.swallows = False
        ask_until(client, "server")


def test_a_served_policy_with_state_needs_an_episode_whatever_stands_in(connect: Connect, served: Server) -> None:
    """A fixed action does not say that the server keeps a state."""
    with pytest.raises(UsageError, match="needs an `episode`"):
        wait_for_server(connect(served.url, "summing", fallback=0))
    client = connect(served.url, "summing", fallback=0, episode="fixed", within_ms=PROMPT_MS)
    wait_for_server(client)
    ask_until_any(client, "server")


def ask_until_any(client: AnyClient, source: str) -> None:
    wait_for(lambda: client.ask(OBSERVATIONS[0]).source == source, f"an answer from {source}")


def test_a_server_that_changes_to_other_tensors_is_left(connect: Connect, tmp_path: Path) -> None:
    """Its actions are never given, though its connection stayed open."""
    models = tmp_path / "models"
    local = EdgePolicy(linear_policy(models).path, "model.onnx")
    with running_server(models, tmp_path / "log", "--poll-s", "0.1") as server:
        client = connect(server.url, "linear", fallback=local, within_ms=PROMPT_MS)
        wait_for_server(client)
        ask_until(client, "server")
        other = gaussian_policy(tmp_path / "other", "linear")
        shutil.move(other.path, models / "linear" / "2")
        manifest = (models / "linear/2/manifest.json").read_text().replace('"version": 1', '"version": 2')
        (models / "linear/2/manifest.json").write_text(manifest)
        ask_until(client, "local")
        with pytest.raises(UsageError, match="deploy the bundle of the served version"):
            wait_for_server(client)


class Failing:
    """A local policy that works once."""

    def __init__(self) -> None:
        self.acted = 0

    def act(self, observation: Any, /) -> Any:
        self.acted += 1
        if self.acted > 1:
            raise RuntimeError(f"no memory for {observation}")
        return 1

    def reset(self) -> None: ...


def test_a_local_policy_that_fails_holds_the_last_action(connect: Connect) -> None:
    """It is counted, and the reply says why."""
    client = connect(NOWHERE, "linear", fallback=Failing())
    assert client.ask(OBSERVATIONS[0]).source == "local"
    held = [client.ask(observation) for observation in OBSERVATIONS[:3]]
    assert {(reply.action, reply.source) for reply in held} == {(1, "hold")}
    assert "the local policy failed: no memory" in str(held[0].why)
    assert fallback_of(client).counts.held == 3
