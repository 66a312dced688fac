"""Asks through openpi-client: `policy` (WebsocketClientPolicy), `broker` (ActionChunkBroker) or `runtime` (Runtime).

In:      the way, the server's URL as ws://…, a folder, tasks (tests/foreign/tasks.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.runtime.agents.policy_agent import PolicyAgent
from openpi_client.runtime.environment import Environment
from openpi_client.runtime.runtime import Runtime
from openpi_client.runtime.subscriber import Subscriber
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from tests.foreign.tasks import KEY, PLAYED_EPISODES, Arrays, Step, carry_out

SHARED_EPISODES = range(48, 64)  # of the 64: over one connection, each named by a control key


class OpenpiClient:
    """A connection for each policy, and one for each episode of a recurrent policy."""

    takes_rows = False

    def __init__(self, url: str, broker: bool) -> None:
        self._url = url
        self._broker = broker
        self._policies: dict[str, Any] = {}
        self._connections: dict[int, Any] = {}
        self._requests = 0

    def connect(self, policy: str) -> Any:
        connection = WebsocketClientPolicy(f"{self._url}/v1/policies/{policy}/openpi", api_key=KEY)
        if self._broker:
            return ActionChunkBroker(connection, connection.get_server_metadata()["action_horizon"])
        return connection

    def act(self, policy: str, observation: Arrays) -> Any:
        if policy not in self._policies:
            self._policies[policy] = self.connect(policy)
        row = {name: value[0] for name, value in observation.items()}
        if "joints_arm" in row:  # a nested dict, and slashes
            self._requests += 1
            arm = row.pop("joints_arm")
            row |= {"joints": {"arm": arm}} if self._requests % 2 else {"joints/arm": arm}
        actions = self._policies[policy].infer(row)["actions"]
        return actions[None] if self._broker else actions  # a broker takes the horizon's dimension away

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        actions = []
        for step in steps:
            shared = step.episode in SHARED_EPISODES
            place = SHARED_EPISODES[0] if shared else step.episode
            if place not in self._connections:
                self._connections[place] = self.connect(policy)
            request = {"observation": step.observation}
            if shared:
                request |= {"episode": step.name, "first": step.first}
            actions.append(self._connections[place].infer(request)["actions"])
        return actions

    def describe(self, policy: str) -> dict[str, Any]:
        connection = WebsocketClientPolicy(f"{self._url}/v1/policies/{policy}/openpi", api_key="no-key-is-needed")
        default = WebsocketClientPolicy(self._url)
        answer = connection.infer({"observation": np.zeros(4)})  # float64, as robots' code has it
        return {
            "metadata": connection.get_server_metadata(),
            "default": default.get_server_metadata(),
            "answer": {name: repr(value) for name, value in answer.items()},
        }


class World(Environment):  # type: ignore[misc]  # the library has no types
    """A gymnasium environment for openpi's Runtime."""

    def __init__(self, name: str, discrete: bool) -> None:
        self._world = gymnasium.make(name)
        self._discrete = discrete
        self._episode = 0
        self.returns: list[float] = []

    def reset(self) -> None:
        self._seen, _ = self._world.reset(seed=self._episode)
        self._episode += 1
        self._complete = False
        self.returns.append(0.0)

    def is_episode_complete(self) -> bool:
        return self._complete

    def get_observation(self) -> dict[str, Any]:
        return {"observation": self._seen}

    def apply_action(self, action: dict[str, Any]) -> None:
        chosen = np.asarray(action["actions"])
        self._seen, reward, terminated, truncated, _ = self._world.step(chosen.item() if self._discrete else chosen)
        self.returns[-1] += float(reward)
        self._complete = terminated or truncated


class Recorder(Subscriber):  # type: ignore[misc]
    """Keeps every step."""

    def __init__(self) -> None:
        self.observations: list[Any] = []
        self.actions: list[Any] = []

    def on_episode_start(self) -> None: ...

    def on_step(self, observation: dict[str, Any], action: dict[str, Any]) -> None:
        self.observations.append(observation["observation"])
        self.actions.append(action["actions"])

    def on_episode_end(self) -> None: ...


def run_runtime(client: OpenpiClient, environment: str, policy: str) -> Callable[[], Arrays]:
    """Plays by openpi's own loop."""

    def play() -> Arrays:
        world, recorder = World(environment, discrete=environment == "CartPole-v1"), Recorder()
        agent = PolicyAgent(client.connect(policy))
        Runtime(world, agent, [recorder], max_hz=0, num_episodes=PLAYED_EPISODES).run()
        facts = {"returns": world.returns[:PLAYED_EPISODES], "requests": len(recorder.actions)}  # it ends with a reset
        return {"observation": np.stack(recorder.observations), "action": np.stack(recorder.actions), "facts": facts}

    return play


def main(way: str, url: str, folder: str, *tasks: str) -> None:
    client = OpenpiClient(url, broker=way != "policy")
    own = {}
    if way == "runtime":
        own["cartpole"] = run_runtime(client, "CartPole-v1", "balancing")
        own["pendulum"] = run_runtime(client, "Pendulum-v1", "swinging")
    carry_out(client, Path(folder), tasks, own)


if __name__ == "__main__":
    main(*sys.argv[1:])
