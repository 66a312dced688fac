"""`rlway edge`: the policy in this process, as on a robot."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rlway_client.cli.progress import TimeLimit, episode_progress, print_played
from rlway_client.common.memory import peak_memory_mb
from rlway_client.common.muting import muted
from rlway_client.contract.errors import UsageError
from rlway_client.contract.meaning_sentences import rate_sentence
from rlway_client.contract.nesting import neutral_observation
from rlway_client.control.rate import keep_rate, micros
from rlway_client.control.realtime import apply_habits
from rlway_client.envs.consent import is_same, trained_environment
from rlway_client.envs.episodes import open_env, play_locally
from rlway_client.load.chart import check_png, draw
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
    png: Annotated[
        Path | None, typer.Option(help="With --rate-hz: draw the distribution of both times here.", dir_okay=False)
    ] = None,
    lock_memory: Annotated[bool, typer.Option("--lock-memory", help="Never page this process out (mlockall).")] = False,
    fifo: Annotated[
        int | None, typer.Option(help="Run before every process of a lower real-time priority (SCHED_FIFO).", min=1)
    ] = None,
    cpu: Annotated[int | None, typer.Option(help="Stay on this core.", min=0)] = None,
    file: Annotated[
        str, typer.Option(help="Which file of the bundle to run: TFLite, ONNX, or C source, which is compiled.")
    ] = "model.tflite",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a policy's file in this process: play episodes, or keep a control loop's rate."""
    if png is not None:
        if rate_hz is None:
            raise UsageError("--png: expected --rate-hz, whose times it draws, got none; name a rate.")
        check_png(png)
    apply_habits(lock_memory, fifo, cpu)
    with muted():  # LiteRT's delegate prints a line
        policy = EdgePolicy(bundle, file)
    if rate_hz is not None:
        other = rate_sentence(policy.manifest, rate_hz)
        if other is not None:
            print(f"note: {other}", file=sys.stderr)
        _keep_rate(policy, file, rate_hz, duration_s, png, as_json)
        return
    env_id = trained_environment(policy.manifest.env, env)
    # Another environment has its own time limit.
    trained = policy.manifest.max_episode_steps if is_same(env_id, policy.manifest.env) else None
    manifest = policy.manifest
    environment = open_env(env_id, manifest.action_values, time_limit or trained, manifest.frame_stack)
    with episode_progress(f"{env_id} in process", episodes) as on_episode:
        time_step = policy.manifest.time_step
        played = play_locally(environment, policy.act, episodes, seed, on_episode, policy.reset, time_step)
    print_played(played, f"in process ({file})", as_json)


def _keep_rate(
    policy: EdgePolicy, file: str, rate_hz: float, duration_s: float, png: Path | None, as_json: bool
) -> None:
    """Acts every 1 / rate_hz seconds, as a control loop; prints how long each action took and how late it began."""
    observation = neutral_observation(policy.manifest.observation)
    opened_s = time.perf_counter()
    policy.act(observation)
    first_us = (time.perf_counter() - opened_s) * 1e6
    report = keep_rate(lambda: policy.act(observation), rate_hz, duration_s)
    memory_mb = peak_memory_mb()
    if png is not None:
        title = f"{file} at {rate_hz:g} Hz, {report.ticks:,} ticks"
        draw(png, title, {"acting": report.acting, "beginning late": report.late}, what="ticks")
    if as_json:
        result = report.as_json() | {"first_act_us": first_us, "memory_mb": memory_mb}
        print(msgspec.json.encode(result).decode())
        return
    acting, late = micros(report.acting), micros(report.late)
    print(
        f"{report.ticks} actions at {rate_hz:g} Hz, {report.missed} missed; acting took {acting['p50']:.1f} µs "
        f"(p99 {acting['p99']:.0f}, max {acting['max']:.0f}), began {late['p50']:.0f} µs late (p99 {late['p99']:.0f}, "
        f"max {late['max']:.0f}); {memory_mb:.0f} MB"
    )
