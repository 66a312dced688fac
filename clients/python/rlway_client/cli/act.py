"""`rlway act`: one observation, one action."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from rlway_client.cli.connection import DEFAULT_URL, KeyOption, PolicyOption, TimeoutOption, UrlOption
from rlway_client.contract.errors import UsageError
from rlway_client.contract.exploration import Explore
from rlway_client.contract.specs import describe
from rlway_client.remote.client import PolicyClient

EXPECTED_TIME_STEP = "expected a JSON object of numbers such as '{\"reward\": 1}'"


def act(
    observation: Annotated[
        str, typer.Argument(help="The observation as JSON, e.g. '[0,0,0,0]'; '-' reads it from stdin.")
    ],
    url: UrlOption = DEFAULT_URL,
    policy: PolicyOption = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sample a discrete action at this temperature; 0 is greedy.")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Take a random discrete action with this probability.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Sample a continuous action; 1 is the trained spread, 0 is greedy.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling.")] = None,
    time_step: Annotated[
        str | None,
        typer.Option(help="What the policy reads besides the observation, as JSON, e.g. '{\"reward\": 1}'."),
    ] = None,
    output: Annotated[list[str] | None, typer.Option(help="Further output to return, e.g. q_values.")] = None,
    key: KeyOption = None,
    timeout_s: TimeoutOption = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole reply as JSON.")] = False,
) -> None:
    """Ask a policy server for one action.

    Prints the action alone, or with --json `action`, `version` and `outputs`.
    """
    explore = Explore(epsilon=epsilon, temperature=temperature, sigma=sigma)
    with PolicyClient(url, policy, key=key, timeout_s=timeout_s) as client:
        reply = client.ask(
            parse_observation(observation),
            explore=None if explore == Explore() else explore,
            seed=seed,
            time_step=None if time_step is None else parse_time_step(time_step),
            outputs=tuple(output or ()),
        )
    if as_json:
        outputs = {name: values.tolist() for name, values in reply.outputs.items()}
        print(
            msgspec.json.encode({"action": _plain(reply.action), "version": reply.version, "outputs": outputs}).decode()
        )
    else:
        print(json.dumps(_plain(reply.action)))


def parse_observation(text: str) -> Any:
    """Reads a JSON array, object or number. Raises UsageError for anything else; the server checks the values."""
    content = typer.get_text_stream("stdin").read() if text == "-" else text
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"OBSERVATION: expected a JSON array of numbers such as '[0,0,0,0]': {error}.") from None
    if isinstance(value, bool | str | None):
        raise UsageError(f"OBSERVATION: expected a JSON array of numbers such as '[0,0,0,0]', got {describe(value)}.")
    return value


def parse_time_step(text: str) -> dict[str, float]:
    """Reads a JSON object of numbers. Raises UsageError for anything else; the server checks the names."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--time-step: {EXPECTED_TIME_STEP}: {error}.") from None
    if not isinstance(value, dict):
        raise UsageError(f"--time-step: {EXPECTED_TIME_STEP}, got {describe(value)}.")
    for part in value.values():
        if isinstance(part, bool) or not isinstance(part, int | float):
            raise UsageError(f"--time-step: {EXPECTED_TIME_STEP}, got {describe(part)} in it.")
    return value


def _plain(action: Any) -> Any:
    """An action for JSON: arrays as lists, and tuples too."""
    if isinstance(action, dict):
        return {key: _plain(part) for key, part in action.items()}
    if isinstance(action, tuple):
        return [_plain(part) for part in action]
    return action.tolist() if isinstance(action, np.ndarray) else action
