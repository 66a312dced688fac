"""How each of the tutorials ends: its policy on a server plays the episodes that it plays in process.

In:      a bundle that `rlway_export.export` returned; what makes a PyEnvironment; a policy of TF-Agents.
Out:     two printed lines, the mean return in process and over HTTP; a film.
Refuses: a server that does not start, with one sentence.

`rlway serve` runs as a process of its own, from the environment `.venv`, in which there is no TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from tf_agents.policies.py_tf_eager_policy import PyTFEagerPolicy

from rlway_client import Bundle, PolicyClient

SERVE = Path(__file__).parents[2] / ".venv/bin/rlway"
TOLERANCE = 1e-5  # of a continuous action; a discrete one is the same or not

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # gym draws CartPole with pygame, which otherwise wants a screen


def play_both(bundle: Bundle, make_env: Callable[[], Any], policy: Any, episodes: int, seed: int = 1000) -> None:
    """Plays the same episodes twice: with the actions of `policy.action`, and with those of a server of the bundle.

    Each time in an environment of its own: PyBullet's keep something of the episodes before.
    """
    chosen = PyTFEagerPolicy(policy, use_tf_function=True)
    local = play(make_env(), lambda time_step: chosen.action(time_step).action, episodes, seed)
    print(f"in process: return {np.mean(local):.2f} over {episodes} episodes")

    agreed: list[bool] = []
    with server(bundle.path.parents[1]) as url, PolicyClient(url, bundle.manifest.policy, timeout_s=60.0) as client:

        def ask(time_step: Any) -> Any:
            action = client.act(time_step.observation)
            agreed.append(np.allclose(action, chosen.action(time_step).action, rtol=0, atol=TOLERANCE))
            return action

        remote = play(make_env(), ask, episodes, seed)
    print(
        f"over HTTP:  return {np.mean(remote):.2f} over {episodes} episodes, "
        f"{sum(agreed)} of {len(agreed)} actions as TF-Agents' policy"
    )


def play(env: Any, act: Callable[[Any], Any], episodes: int, seed: int) -> list[float]:
    """The returns of so many episodes in a PyEnvironment; the i-th always begins from the same seed."""
    returns = []
    for i in range(episodes):
        random.seed(seed + i)  # a PyEnvironment may draw from the global generators, as Minitaur's reset does
        np.random.seed(seed + i)
        with contextlib.suppress(NotImplementedError):
            env.seed(seed + i)
        time_step, earned = env.reset(), 0.0
        while not time_step.is_last():
            time_step = env.step(np.asarray(act(time_step), env.action_spec().dtype))
            earned += float(time_step.reward)
        returns.append(earned)
    return returns


@contextlib.contextmanager
def server(models: Path) -> Iterator[str]:
    """A policy server on a free port, stopped on leaving; yields its URL."""
    command = [str(SERVE), "serve", str(models), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()  # ends, empty, if the server does
            if not ready:
                sys.exit(f"`rlway serve {models}` ended with status {process.wait()} before it was ready")
            yield json.loads(ready)["url"]
        finally:
            process.terminate()


def film(env: Any, policy: Any, path: Path, frames: int, fps: int = 30) -> None:
    """Films a policy in a PyEnvironment that renders: whole episodes, until there are so many pictures."""
    chosen = PyTFEagerPolicy(policy, use_tf_function=True)
    video: Any = imageio.get_writer(path, fps=fps)
    with video:
        time_step = env.reset()
        for _ in range(frames):
            video.append_data(env.render())
            time_step = env.reset() if time_step.is_last() else env.step(chosen.action(time_step).action)
