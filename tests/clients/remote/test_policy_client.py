"""Both Python clients against a real server: numbers in, numbers out, and each of its errors as its class."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rlway_client import AsyncPolicyClient, Explore, PolicyClient
from rlway_client.contract.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    KeyMissing,
    KeyRefused,
    NotFound,
    QueueFull,
    SpecViolated,
    UsageError,
)
from tests.bundles import BIAS, WEIGHTS, linear_policy, summing_policy
from tests.clients.conftest import Connect
from tests.servers import Server, running_server

ROWS: NDArray[np.float32] = np.random.default_rng(7).normal(size=(50, 4)).astype(np.float32)
GREEDY = (ROWS @ WEIGHTS + BIAS).argmax(axis=1)


def test_act_gives_an_int(connect: Connect, server: Server) -> None:
    """One observation in, one Python int out, for a discrete policy."""
    action = connect(server.url, "linear").act(ROWS[0])
    assert type(action) is int
    assert action == GREEDY[0]


@pytest.mark.parametrize("observation", [[1, 0, 0, 0], (1.0, 0.0, 0.0, 0.0), np.array([1, 0, 0, 0], np.int8)])
def test_act_takes_what_numpy_takes(connect: Connect, server: Server, observation: object) -> None:
    """Lists, tuples and arrays of any number type."""
    assert connect(server.url, "linear").act(observation) == 0


def test_the_default_policy_needs_no_name(connect: Connect, server: Server) -> None:
    """A URL is enough."""
    client = connect(server.url)
    assert client.act([-1, 0, 0, 0]) == 1
    assert client.describe()["manifest"]["policy"] == "linear"


def test_act_batch_gives_an_array(connect: Connect, server: Server) -> None:
    """As many actions as observations, in order."""
    actions = connect(server.url, "linear").act_batch(ROWS)
    assert isinstance(actions, np.ndarray)
    assert actions.tolist() == GREEDY.tolist()


def test_continuous_actions_are_float32_arrays(connect: Connect, server: Server) -> None:
    """The action's own shape, for one and for several."""
    client = connect(server.url, "gaussian")
    expected = 2 * np.tanh(ROWS @ WEIGHTS)
    single = client.act(ROWS[0])
    assert (single.shape, single.dtype) == ((2,), np.float32)
    np.testing.assert_allclose(single, expected[0], rtol=1e-5)
    np.testing.assert_allclose(client.act_batch(ROWS), expected, rtol=1e-5, atol=1e-6)


def test_ask_gives_version_and_outputs(connect: Connect, server: Server) -> None:
    """The whole reply, outputs as arrays."""
    reply = connect(server.url, "linear").ask(ROWS, batched=True, outputs=("q_values",), version=1, deadline_ms=5000)
    assert reply.version == 1
    np.testing.assert_allclose(reply.outputs["q_values"], ROWS @ WEIGHTS + BIAS, rtol=1e-5, atol=1e-6)


def test_a_seed_decides_the_sample(connect: Connect, server: Server) -> None:
    """`explore` and `seed` reach the server: one seed samples one action, several seeds sample all actions."""
    client = connect(server.url, "linear")
    sampled = [client.act([9, 0, 0, 0], explore=Explore(epsilon=1.0), seed=seed) for seed in range(20)]
    assert sampled == [client.act([9, 0, 0, 0], explore=Explore(epsilon=1.0), seed=seed) for seed in range(20)]
    assert set(sampled) == {0, 1}
    batch = [client.act_batch(ROWS, explore=Explore(temperature=2.0), seed=3).tolist() for _ in range(2)]
    assert batch[0] == batch[1]


def test_describe_gives_the_manifest(connect: Connect, server: Server) -> None:
    """What `GET /v1/policies/{policy}` says."""
    description = connect(server.url, "gaussian").describe()
    assert description["manifest"]["observation"][0]["shape"] == [4]
    assert description["versions"] == [1]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8080", "http://", "http://127.0.0.1:port", ""])
def test_a_malformed_url_is_refused(connect: Connect, url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError):
        connect(url)


@pytest.mark.parametrize(
    ("observation", "path"),
    [([1, 2, float("nan"), 4], "observation[2]"), ([1, float("inf"), 3, 4], "observation[1]"), ("abcd", "observation")],
)
def test_a_number_that_is_not_finite_is_refused_before_it_is_sent(
    connect: Connect, observation: object, path: str
) -> None:
    """SpecViolated with the path, though nobody listens."""
    with pytest.raises(SpecViolated) as caught:
        connect("http://127.0.0.1:1").act(observation)
    assert caught.value.faults[0].path == path


def test_a_nan_in_a_batch_is_refused_before_it_is_sent(connect: Connect) -> None:
    """With its row and element."""
    rows = ROWS.copy()
    rows[3, 1] = np.nan
    with pytest.raises(SpecViolated, match=r"observations\[3\]\[1\]"):
        connect("http://127.0.0.1:1").act_batch(rows)


def test_rows_of_different_lengths_are_refused_before_they_are_sent(connect: Connect) -> None:
    """As SpecViolated, not as numpy's ValueError."""
    with pytest.raises(SpecViolated, match="observations"):
        connect("http://127.0.0.1:1").act_batch([[1, 2, 3], [1, 2]])


def test_the_servers_faults_arrive_by_path(connect: Connect, server: Server) -> None:
    """A 422 is SpecViolated, with every fault."""
    client = connect(server.url, "linear")
    with pytest.raises(SpecViolated) as caught:
        client.act_batch([[1, 2, 3]] * 3)
    assert [fault.path for fault in caught.value.faults] == [f"observations[{i}]" for i in range(3)]
    assert client.act([1, 0, 0, 0]) == 0


def test_each_refusal_has_its_class(connect: Connect, server: Server) -> None:
    """404, 422 and 504; the connection can be used again."""
    client = connect(server.url, "linear")
    with pytest.raises(NotFound, match="version 9"):
        client.ask([1, 0, 0, 0], version=9)
    with pytest.raises(DeadlineExceeded):
        client.ask([1, 0, 0, 0], deadline_ms=0.001)
    with pytest.raises(SpecViolated, match="q_values"):
        client.ask([1, 0, 0, 0], outputs=("colour",))
    with pytest.raises(SpecViolated, match=r"explore\.sigma"):
        client.act([1, 0, 0, 0], explore=Explore(sigma=1.0))
    with pytest.raises(NotFound, match="nobody"):
        connect(server.url, "nobody").act([1, 0, 0, 0])
    assert client.act([1, 0, 0, 0]) == 0


@pytest.mark.parametrize("name", ["a/b", "a b", "é", "%2e%2e", "a?x=1"])
def test_a_policys_name_cannot_change_the_route(connect: Connect, server: Server, name: str) -> None:
    """It is quoted in the path."""
    with pytest.raises(NotFound):
        connect(server.url, name).act([1, 0, 0, 0])


def test_refusals_of_keys_and_limits_have_their_classes(connect: Connect, tmp_path: Path) -> None:
    """401, 403 and 413; with the right key the client acts."""
    linear_policy(tmp_path / "models")
    (tmp_path / "keys").write_text("correct-horse\n")
    options = ["--api-keys", str(tmp_path / "keys"), "--max-body-bytes", "2000", "--queue-capacity", "1"]
    with running_server(tmp_path / "models", tmp_path / "log", *options) as guarded:
        with pytest.raises(KeyMissing):
            connect(guarded.url).act([1, 0, 0, 0])
        with pytest.raises(KeyRefused):
            connect(guarded.url, key="wrong-horse").act([1, 0, 0, 0])
        with pytest.raises(UsageError):
            connect(guarded.url, key="two\r\nlines: x").act([1, 0, 0, 0])
        client = connect(guarded.url, key="correct-horse")
        assert client.act([1, 0, 0, 0]) == 0
        assert client.describe()["manifest"]["policy"] == "linear"
        with pytest.raises(BodyTooLarge, match="2000"):
            client.act_batch(np.zeros((500, 4)))
        assert client.act([1, 0, 0, 0]) == 0


def test_a_full_queue_arrives_as_queue_full(tmp_path: Path) -> None:
    """Of many requests at once some are refused, with a time to wait, and the others are answered."""
    linear_policy(tmp_path / "models")

    async def ask_at_once(url: str) -> list[object]:
        async with AsyncPolicyClient(url) as client:
            rows = np.tile(np.array([1.0, 0, 0, 0]), (2000, 1))
            asked = (client.act_batch(rows) for _ in range(40))
            outcomes: list[object] = await asyncio.gather(*asked, return_exceptions=True)
            return outcomes

    with running_server(tmp_path / "models", tmp_path / "log", "--queue-capacity", "1") as server:
        outcomes = asyncio.run(ask_at_once(server.url))
    refused = [outcome for outcome in outcomes if isinstance(outcome, QueueFull)]
    assert all(error.retry_after_s >= 1 for error in refused)
    answered = [outcome for outcome in outcomes if isinstance(outcome, np.ndarray)]
    assert len(answered) + len(refused) == 40
    assert len(answered) >= 1
    assert not any(actions.any() for actions in answered)


def test_a_client_that_was_closed_connects_again(server: Server) -> None:
    """Closing drops the connection, not the client."""
    client = PolicyClient(server.url)
    for _ in range(2):
        assert client.act([-1, 0, 0, 0]) == 1
        client.close()


def test_concurrent_requests_get_their_own_answers(server: Server) -> None:
    """A hundred tasks over one AsyncPolicyClient, in rounds."""

    async def check() -> None:
        async with AsyncPolicyClient(server.url, "linear") as client:
            for _ in range(3):
                actions = await asyncio.gather(*(client.act(row) for row in np.tile(ROWS, (2, 1))))
                assert actions == [*GREEDY, *GREEDY]

    asyncio.run(check())


def test_a_cancelled_request_does_not_poison_the_next(server: Server) -> None:
    """The answer of a cancelled request is never taken for another's, whenever it was cancelled."""

    async def check() -> None:
        async with AsyncPolicyClient(server.url, "linear") as client:
            for turns in range(12):
                task = asyncio.ensure_future(client.act([-1, 0, 0, 0]))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert await client.act([1, 0, 0, 0]) == 0

    asyncio.run(check())


def test_errors_in_one_task_leave_the_others_alone(server: Server) -> None:
    """Good and bad requests at once."""

    async def check() -> None:
        async with AsyncPolicyClient(server.url, "linear") as client:
            requests = [client.act([1, 0, 0, 0]) if i % 2 else client.act([1, 0, 0]) for i in range(40)]
            outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert outcomes[1::2] == [0] * 20
        assert all(isinstance(outcome, SpecViolated) for outcome in outcomes[::2])

    asyncio.run(check())


def test_a_reset_while_a_step_is_under_way_holds(tmp_path: Path) -> None:
    """The next action begins an episode, though the reply of the one before came after the reset."""
    summing_policy(tmp_path / "models")

    async def play(url: str) -> list[int]:
        async with AsyncPolicyClient(url, "summing", episode="robot") as client:
            await client.act([-1, 0, 0, 0])
            step = asyncio.create_task(client.act([-1, 0, 0, 0]))
            await asyncio.sleep(0)  # it is under way now
            client.reset()
            await step
            return [await client.act([0.5, 0, 0, 0]), await client.act([-2, 0, 0, 0])]

    with running_server(tmp_path / "models", tmp_path / "log") as server:
        assert asyncio.run(play(server.url)) == [0, 1]
