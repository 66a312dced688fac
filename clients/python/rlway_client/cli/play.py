"""`rlway play`: remote environments against a policy server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from rlway_client.cli.connection import DEFAULT_URL, KeyOption, PolicyOption, TimeoutOption, UrlOption
from rlway_client.cli.progress import TimeLimit, episode_progress, print_played
from rlway_client.contract.exploration import Explore
from rlway_client.envs.consent import is_same, trained_environment
from rlway_client.envs.episodes import PlayedEpisodes, open_env
from rlway_client.envs.named import NamedEnv
from rlway_client.play.remote import play_remotely
from rlway_client.remote.aio import AsyncPolicyClient
from rlway_client.remote.messages import needs_episodes, read_manifest


def play(
    url: UrlOption = DEFAULT_URL,
    policy: PolicyOption = None,
    env: Annotated[
        str | None,
        typer.Option(help="Gymnasium id, module:Class or file.py:Class; by default the one the policy was trained in."),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Episodes in total.", min=1)] = 20,
    envs: Annotated[int, typer.Option(help="Environments at once, each with a connection of its own.", min=1)] = 4,
    time_limit: TimeLimit = None,
    seed: Annotated[int, typer.Option(help="Episode i starts from reset(seed=SEED+i).", min=0)] = 1000,
    temperature: Annotated[
        float | None, typer.Option(help="Sample discrete actions at this temperature; 0 is greedy.")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Take random discrete actions with this probability.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Sample continuous actions; 1 is the trained spread, 0 is greedy.")
    ] = None,
    key: KeyOption = None,
    timeout_s: TimeoutOption = 5.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print mean_return, returns and actions_per_s as JSON.")
    ] = False,
) -> None:
    """Play episodes in environments of this process, with actions from a policy server."""
    explore = Explore(epsilon=epsilon, temperature=temperature, sigma=sigma)
    options: dict[str, Any] = {} if explore == Explore() else {"explore": explore}
    environments: list[NamedEnv] = []

    async def run() -> PlayedEpisodes:
        async with AsyncPolicyClient(url, policy, key=key, timeout_s=timeout_s) as client:
            description = await client.describe()
            manifest = read_manifest(description)
            env_id = trained_environment(manifest.env, env)
            # Another environment has its own time limit.
            limit = time_limit or (manifest.max_episode_steps if is_same(env_id, manifest.env) else None)
            in_episodes = needs_episodes(description)
            wrapped = manifest.action_values, limit, manifest.frame_stack
            environments.extend(open_env(env_id, *wrapped) for _ in range(min(envs, episodes)))
            with episode_progress(f"{env_id} over {url}", episodes) as on_episode:
                return await play_remotely(
                    client, environments, episodes, seed, on_episode, manifest.interface, in_episodes, **options
                )

    print_played(asyncio.run(run()), f"{len(environments)} remote environments", as_json)
