"""What every client of other people is asked to do. Runs in the client's own environment, and imports nothing of RLway.

In:      a client as a `Client`; a folder; the names of tasks.
Out:     one line of JSON for each task, and `TASK.npz` in the folder: what was observed and what came back.

`cartpole`   10 episodes of CartPole-v1 with the policy `balancing`, side by side where a request can hold several rows
`pendulum`   10 episodes of Pendulum-v1 with `swinging`: two of them one after the other, the others side by side
`episodes`   64 episodes of the recurrent policy `summing`, interleaved in an order that changes with every step
`pictures`   uint8[16, 16, 3] for `picture`: 8 requests of one row, then one of 8 rows where that is possible
`robot`      an observation of two parts for `robot`, likewise
`refused`    requests that no server can answer, each followed by a good one on the same client
`described`  what the client makes of the server's own description
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np

Arrays = dict[str, Any]  # by input name, each with rows before its own dimensions
KEY = os.environ.get("POLICY_KEY")  # for a server that wants one
PLAYED_EPISODES = 10
WALKED_EPISODES = 64
LONGEST_WALK = 12


class Step(NamedTuple):
    """One step of an episode of the recurrent policy."""

    episode: int
    observation: Any  # float32[4]
    first: bool
    last: bool

    @property
    def name(self) -> str:
        """The episode's name, which no other client uses on the same server."""
        return f"robot-{os.getpid()}-{self.episode}"

    @property
    def number(self) -> int:
        """The same as a number."""
        return os.getpid() * WALKED_EPISODES + self.episode

    @property
    def step_type(self) -> int:
        """FIRST, MID or LAST, as TF-Agents counts them."""
        return 0 if self.first else 2 if self.last else 1


class Client(Protocol):
    """Asks policies through one client library."""

    takes_rows: bool  # whether one request can hold several observations

    def act(self, policy: str, observation: Arrays) -> Any:
        """The actions of all rows."""

    def act_in_episodes(self, policy: str, steps: Sequence[Step]) -> list[Any]:
        """The action of each step, which belongs to an episode of its own."""

    def describe(self, policy: str) -> dict[str, Any]:
        """What the library reads of the server and of the policy, as JSON."""


def carry_out(client: Client, folder: Path, tasks: Sequence[str], own: dict[str, Callable[[], Arrays]]) -> None:
    """Prints a line for each task. `own` are tasks that the program does in its library's own way."""
    for task in tasks:
        try:
            done = own[task]() if task in own else TASKS[task](client)
            facts = done.pop("facts", {})
            np.savez(folder / f"{task}.npz", **done)
        except Exception as error:
            facts = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        print(json.dumps({"task": task, **facts}), flush=True)


def _cartpole(client: Client) -> Arrays:
    return play(client, "CartPole-v1", "balancing", alone=0)


def _pendulum(client: Client) -> Arrays:
    return play(client, "Pendulum-v1", "swinging", alone=2)


def play(client: Client, environment: str, policy: str, alone: int) -> Arrays:
    """Plays episodes to their end: the first ones alone, and the others side by side where a request can hold rows."""
    seeds = list(range(PLAYED_EPISODES))
    alone = alone if client.takes_rows else len(seeds)
    groups = [[seed] for seed in seeds[:alone]] + ([seeds[alone:]] if seeds[alone:] else [])
    observations: list[Any] = []
    actions: list[Any] = []
    returns: list[float] = []
    for group in groups:
        worlds = [gymnasium.make(environment) for _ in group]
        seen = {i: world.reset(seed=seed)[0] for i, (world, seed) in enumerate(zip(worlds, group, strict=True))}
        gained = [0.0] * len(group)
        while seen:
            rows = np.stack(list(seen.values()))
            chosen = np.asarray(client.act(policy, {"observation": rows}))
            assert len(chosen) == len(rows), f"{len(rows)} observations, but {len(chosen)} actions"
            observations.append(rows)
            actions.append(chosen)
            for i, action in zip(list(seen), chosen, strict=True):
                seen[i], reward, terminated, truncated, _ = worlds[i].step(action)
                gained[i] += float(reward)
                if terminated or truncated:
                    del seen[i]
        returns += gained
    facts = {"returns": returns, "requests": len(actions)}
    return {"observation": np.concatenate(observations), "action": np.concatenate(actions), "facts": facts}


def _episodes(client: Client) -> Arrays:
    generator = np.random.default_rng(15)
    lengths = generator.integers(2, LONGEST_WALK + 1, WALKED_EPISODES)
    # Quarters: their sums are exact in float32, whatever is added to what first.
    observations = (generator.integers(-8, 9, (WALKED_EPISODES, LONGEST_WALK, 4)) / 4).astype(np.float32)
    actions = np.full((WALKED_EPISODES, LONGEST_WALK), -1, np.int64)
    for t in range(LONGEST_WALK):
        alive = generator.permutation(np.flatnonzero(lengths > t)).tolist()
        steps = [Step(e, observations[e, t], t == 0, bool(t == lengths[e] - 1)) for e in alive]
        answers = client.act_in_episodes("summing", steps)
        for e, action in zip(alive, answers, strict=True):
            actions[e, t] = np.asarray(action).item()
    facts = {"requests": int(lengths.sum())}
    return {"observation": observations, "lengths": lengths, "action": actions, "facts": facts}


def _pictures(client: Client) -> Arrays:
    pictures = np.random.default_rng(16).integers(0, 256, (16, 16, 16, 3), np.uint8)
    return _ask_rows(client, "picture", {"observation": pictures})


def _robot(client: Client) -> Arrays:
    generator = np.random.default_rng(17)
    camera = generator.integers(0, 256, (16, 2), np.uint8)
    arm = (generator.integers(-8, 9, (16, 3)) / 4).astype(np.float32)
    return _ask_rows(client, "robot", {"camera": camera, "joints_arm": arm})


def _ask_rows(client: Client, policy: str, observations: Arrays) -> Arrays:
    rows = len(next(iter(observations.values())))
    single = rows // 2 if client.takes_rows else rows
    slices = [slice(i, i + 1) for i in range(single)] + ([slice(single, rows)] if client.takes_rows else [])
    asked = [client.act(policy, {name: value[part] for name, value in observations.items()}) for part in slices]
    return {**observations, "action": np.concatenate(asked), "facts": {"requests": len(asked)}}


def _refused(client: Client) -> Arrays:
    good = {"observation": np.zeros((1, 4), np.float32)}
    wrong: dict[str, tuple[str, Arrays]] = {
        "shape": ("balancing", {"observation": np.zeros((1, 5), np.float32)}),
        "name": ("balancing", {"observations": np.zeros((1, 4), np.float32), "speed": np.zeros((1, 2), np.float32)}),
        "nan": ("balancing", {"observation": np.full((1, 4), np.nan, np.float32)}),
        "policy": ("nobody", good),
    }
    errors: dict[str, Any] = {}
    for what, (policy, observation) in wrong.items():
        try:
            errors[what] = ["answered", repr(client.act(policy, observation))]
        except Exception as error:
            errors[what] = [type(error).__name__, str(error)]
        client.act("balancing", good)
    return {"facts": {"errors": errors}}


def _described(client: Client) -> Arrays:
    return {"facts": {"described": client.describe("balancing")}}


TASKS: dict[str, Callable[[Client], Arrays]] = {
    "cartpole": _cartpole,
    "pendulum": _pendulum,
    "episodes": _episodes,
    "pictures": _pictures,
    "robot": _robot,
    "refused": _refused,
    "described": _described,
}
