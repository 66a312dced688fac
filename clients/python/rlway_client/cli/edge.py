"""`rlway edge`: the policy in this process, as on a robot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer

from rlway_client.cli.progress import TimeLimit, episode_progress, print_played
from rlway_client.common.muting import muted
from rlway_client.contract.nesting import grow, nest
from rlway_client.envs.consent import is_same, trained_environment
from rlway_client.envs.episodes import open_env, play_locally
from rlway_client.local.edge import EdgePolicy


def edge(
    bundle: Annotated[Path, typer.Argument(help="models/<policy>/<version>, or models/<policy> for the newest.")],
    env: Annotated[
        str | None,
        typer.Option(help="Gymnasium id, module:Class or file.py:Class; by default the one the policy was trained in."),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Episodes to play.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Episode i starts from reset(seed=SEED+i).", min=0)] = 1000,
    time_limit: TimeLimit = None,
    rate_hz: Annotated[
        float | None, typer.Option(help="Act at this rate without an environment, and report jitter.", min=0.1)
    ] = None,
    duration_s: Annotated[float, typer.Option(help="With --rate-hz: how long to act, seconds.", min=0.1)] = 5.0,
    file: Annotated[str, typer.Option(help="Which of the bundle's TFLite or ONNX files to run.")] = "model.tflite",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a policy's TFLite or ONNX file in this process: play episodes, or keep a control loop's rate."""
    with muted():  # LiteRT's delegate prints a line
        policy = EdgePolicy(bundle, file)
    if rate_hz is not None:
        _keep_rate(policy, rate_hz, duration_s, as_json)
        return
    env_id = trained_environment(policy.manifest.env, env)
    # Another environment has its own time limit.
    trained = policy.manifest.max_episode_steps if is_same(env_id, policy.manifest.env) else None
    manifest = policy.manifest
    environment = open_env(env_id, manifest.action_values, time_limit or trained, manifest.frame_stack)
    with episode_progress(f"{env_id} in process", episodes) as on_episode:
        time_step = policy.manifest.time_step
        played = play_locally(environment, policy.act, episodes, seed, on_episode, policy.reset, time_step)
    print_played(played, f"in process ({'ONNX' if file.endswith('.onnx') else 'TFLite'})", as_json)


def _keep_rate(policy: EdgePolicy, rate_hz: float, duration_s: float, as_json: bool) -> None:
    """Acts every 1 / rate_hz seconds, as a control loop; prints how long each action took and how late it began."""
    ticks = max(1, int(rate_hz * duration_s))
    specs = policy.manifest.observation
    observation = nest({spec.name: spec.neutral(1)[0] for spec in specs}, grow(specs))
    act_us, late_us = np.empty(ticks), np.empty(ticks)
    start = time.perf_counter()
    for i in range(ticks):
        due = start + i / rate_hz
        time.sleep(max(0.0, due - time.perf_counter()))
        begun = time.perf_counter()
        policy.act(observation)
        act_us[i] = (time.perf_counter() - begun) * 1e6
        late_us[i] = (begun - due) * 1e6
    missed = int((late_us > 1e6 / rate_hz).sum())
    result = {
        "rate_hz": rate_hz,
        "ticks": ticks,
        "missed": missed,
        "act_us": {"p50": float(np.median(act_us)), "max": float(act_us.max())},
        "late_us": {"p50": float(np.median(late_us)), "max": float(late_us.max())},
    }
    if as_json:
        print(msgspec.json.encode(result).decode())
    else:
        print(
            f"{ticks} actions at {rate_hz:g} Hz, {missed} missed; acting took {np.median(act_us):.1f} µs "
            f"(max {act_us.max():.0f}), began {np.median(late_us):.0f} µs late (max {late_us.max():.0f})"
        )
