"""Plays an environment on this machine with actions from a policy server.

    .venv/bin/rlway serve models &
    .venv/bin/python examples/remote_environment.py --policy cartpole
    .venv/bin/python examples/remote_environment.py --policy cartpole --plain

With `--plain`, each action is an HTTP request that the standard library makes. It shows everything that a client in
another language has to send and to read.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import gymnasium

from rlway_client import PolicyClient, RlwayError


def main() -> None:
    parser = argparse.ArgumentParser(description="Plays episodes with a policy on a server.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--policy", default="cartpole")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help="ask with the standard library alone")
    options = parser.parse_args()

    env = gymnasium.make(options.env)
    if options.plain:
        play(env, plain_act(options.url, options.policy), options.episodes)
    else:
        with PolicyClient(options.url, options.policy, timeout_s=5.0) as policy:
            play(env, policy.act, options.episodes)


def play(env: gymnasium.Env[Any, Any], act: Callable[[Any], Any], episodes: int) -> None:
    """Plays episodes. It needs nothing from the policy but `act`."""
    for episode in range(episodes):
        observation, _ = env.reset(seed=1000 + episode)
        earned, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            earned += float(reward)
            ended = terminated or truncated
        print(f"episode {episode}: return {earned:.0f}")


def plain_act(url: str, policy: str) -> Callable[[Any], Any]:
    """Posts {"observation": […]} and reads {"action": …, "version": …}. It opens a connection for each request."""

    def act(observation: Any) -> Any:
        body = json.dumps({"observation": observation.tolist()}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{url}/v1/policies/{policy}/act", body, headers)
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            return json.load(answer)["action"]

    return act


if __name__ == "__main__":
    try:
        main()
    except (RlwayError, OSError) as error:
        sys.exit(str(error))
