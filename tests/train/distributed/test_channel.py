"""Messages between actors and learner, with server and actor in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.errors import ServerUnreachable, UsageError
from rlway_train.collect.transition import TransitionColumns
from rlway_train.common.deadline import watched, within
from rlway_train.config.settings import DqnSettings
from rlway_train.distributed.actor import Actor
from rlway_train.distributed.channel import ActivePolicy, ActorJob, Channel, Weights, message_tables
from rlway_train.distributed.replay_server import ReplayServer
from rlway_train.replay.reverb import LocalServer, ReverbRows, TableOptions
from tests.ports import free_port, wait_for

SETTINGS = DqnSettings(envs=2, block_steps=16, hidden=(8,))
JOB = ActorJob.of(SETTINGS, "CartPole-v1", seed=0)
COLUMNS = TransitionColumns(obs_dim=4, action_dim=1)
WIDTH, ACTION = COLUMNS.width, COLUMNS.action.start


@pytest.fixture
def server() -> Iterator[LocalServer]:
    server = LocalServer(TableOptions(capacity=5_000), message_tables())
    yield server
    server.close()


@pytest.fixture
def channel(server: LocalServer) -> Channel:
    return Channel(server.address, patience_s=5.0)


def weights() -> list[Weights]:
    return [Weights.of(np.full(shape, 0.1, np.float32)) for shape in ((4, 8), (8,), (8, 2), (2,))]


def test_the_latest_policy_is_the_one_that_is_read(channel: Channel, server: LocalServer) -> None:
    """A late reader gets the latest message, as it was written."""
    assert channel.job() is None
    assert channel.active_policy() is None
    channel.announce(JOB)
    for step in (1, 2, 3):
        channel.publish(ActivePolicy(step, weights()))
    late = Channel(server.address)
    assert late.job() == JOB
    active = late.active_policy()
    assert active is not None
    assert active.step == 3
    assert active.weights is not None
    np.testing.assert_array_equal(active.weights[0].array, np.full((4, 8), 0.1, np.float32))
    channel.publish(ActivePolicy(4, over=True))
    assert late.active_policy() == ActivePolicy(4, over=True)


def test_returns_are_read_once_and_in_order(channel: Channel) -> None:
    """Several reports at once, and none at all."""
    channel.report([1.0, 2.0])
    channel.report([])
    channel.report([3.0])
    assert channel.take_returns() == [1.0, 2.0, 3.0]
    assert channel.take_returns() == []


@pytest.mark.slow
def test_an_actor_takes_random_steps_then_follows_the_policy_and_ends_with_the_training(
    channel: Channel, server: LocalServer
) -> None:
    """Its rows and returns arrive. Once there is a policy, which always pushes right, it follows it."""
    actor = Actor(Channel(server.address), number=1, env=None, note=lambda _: None)
    running = threading.Thread(target=actor.run)
    running.start()
    channel.announce(JOB)
    rows = ReverbRows(server.address, WIDTH, patience_s=30.0)

    def drawn(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        (sample,) = rows.dataset(n).take(1)
        array: np.ndarray[tuple[int, int], np.dtype[np.float32]] = sample.data.numpy()
        return array

    wait_for(lambda: channel.rows().inserted > 200, "rows enough for either action")
    assert set(drawn(200)[:, ACTION]) == {0.0, 1.0}
    always = [np.zeros((4, 8)), np.zeros(8), np.zeros((8, 2)), np.array([0.0, 1.0])]
    channel.publish(ActivePolicy(10**9, [Weights.of(array.astype(np.float32)) for array in always]))
    enough = channel.rows().inserted + 20_000  # the table holds 5,000: those at random will have left it
    wait_for(lambda: channel.rows().inserted > enough, "20,000 more rows")
    assert drawn(500)[:, ACTION].mean() > 0.9  # epsilon ends at 0.05
    channel.publish(ActivePolicy(10**9, over=True))
    running.join(30.0)
    assert not running.is_alive()
    assert actor.steps == channel.rows().inserted
    returns = channel.take_returns()
    assert len(returns) > 100
    assert min(returns) >= 8


def test_an_actor_runs_no_code_that_only_the_server_names(channel: Channel) -> None:
    """A file or a module is imported by an actor only if its own command named it."""
    channel.announce(ActorJob("dqn", "envs/maze.py:Maze", 0, JOB.settings))
    with pytest.raises(UsageError, match=r"say so with --env envs/maze.py:Maze"):
        Actor(channel, number=1, env=None, note=lambda _: None).run()


def test_a_server_that_is_not_there_is_named_with_the_time_it_was_waited_for() -> None:
    """The sentence also says what should be running there."""
    said: list[str] = []
    with pytest.raises(ServerUnreachable, match=r"no answer within 1 s; is `rlway train replay` running there"):
        Channel(f"localhost:{free_port()}", patience_s=1.0, note=said.append).reach()
    assert len(said) == 1
    assert "waiting 1 s" in said[0]


def test_a_server_with_other_tables_is_no_replay_of_ours() -> None:
    """The sentence has the names of its tables."""
    plain = LocalServer(TableOptions(capacity=10))
    with pytest.raises(ServerUnreachable, match="expected the tables of `rlway train replay`, got rows"):
        Channel(plain.address).reach()
    plain.close()


def test_a_restarted_replay_server_has_what_it_saved(tmp_path: Path) -> None:
    """Rows, their count, the job and the policy are in the folder of its checkpoints."""
    folder, port = tmp_path, free_port()
    table = TableOptions(capacity=50, min_size=1, samples_per_insert=8.0, ahead=1_000)
    with ReplayServer(table, port, folder) as first:
        channel = Channel(f"localhost:{port}")
        ReverbRows(f"localhost:{port}", WIDTH, 5.0).write(np.arange(80 * WIDTH, dtype=np.float32).reshape(80, WIDTH))
        channel.announce(JOB)
        channel.publish(ActivePolicy(80, weights()))
        for _ in range(4):
            first.save()
    assert len(list(folder.iterdir())) == 1  # the last checkpoint
    with ReplayServer(table, port, folder) as second:
        channel = Channel(f"localhost:{port}")
        assert second.size == 50
        assert channel.rows().inserted == 80
        assert channel.job() == JOB
        assert channel.active_policy() == ActivePolicy(80, weights())
        (sample,) = ReverbRows(f"localhost:{port}", WIDTH, 5.0).dataset(200).take(1)
        assert sample.data.numpy()[:, 0].min() >= 30 * WIDTH


def test_a_port_in_use_is_refused() -> None:
    """Two servers on one port would each get half of the calls."""
    port = free_port()
    with (
        ReplayServer(TableOptions(capacity=10), port, None),
        pytest.raises(UsageError, match=f"--port: {port} is in use"),
    ):
        ReplayServer(TableOptions(capacity=10), port, None)


def test_a_call_that_never_returns_is_abandoned() -> None:
    """After the time-out, with one sentence; or as soon as `look` raises."""
    never = threading.Event()
    with pytest.raises(ServerUnreachable, match=r"^replay at there: no answer within 0\.1 s\.$"):
        within(0.1, "replay at there", never.wait)

    def look() -> None:
        raise UsageError("gone")

    with pytest.raises(UsageError, match="gone"):
        watched(never.wait, look, every_s=0.01)
    never.set()
    assert watched(never.wait, look) is True
