"""`rlway env`: checks an environment before a policy is trained in it.

In:      an environment's name.
Out:     its specs and statistics of random episodes, or one sentence on where it breaks its specs.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlway_client.cli.help_page import HelpPage, new_group
from rlway_client.contract.specs import TensorSpec

env = new_group(no_args_is_help=True)


@env.callback()
def _env() -> None:
    """Check environments."""


@env.command(cls=HelpPage)
def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Gymnasium id, module:Class or path/to/file.py:Class; for a file alone, its classes are named.",
            show_default=False,
        ),
    ],
    episodes: Annotated[int, typer.Option(help="Episodes of random actions to play.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Episode i starts from reset(seed=SEED+i).", min=0)] = 0,
    time_limit: Annotated[
        int | None, typer.Option(help="Steps an episode, in place of the environment's own limit.", min=1)
    ] = None,
    discretize: Annotated[
        int | None, typer.Option(help="Replace a continuous action of one dimension by N values of it.", min=2)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Play random episodes, check observations and rewards against the environment's own specs, and print the specs.

    Exits with 1 if the environment breaks its specs, raises or returns NaN; one sentence names the step and the value.
    It warns of a TF-Agents environment that does not begin a new episode when it is stepped after the last one's end.
    """
    from rlway_train.common.quiet import quiet_libraries

    quiet_libraries()
    from rlway_train.envs.check import check_environment
    from rlway_train.envs.domain import find_spec, make_one

    one = make_one(name, find_spec(name, time_limit), discretize)
    try:
        checked = check_environment(name, one, episodes, seed)
    finally:
        one.close()
    if as_json:
        print(msgspec.json.encode(checked).decode())
    else:
        _show(checked, Console())


def _show(checked: Any, console: Console) -> None:
    limit = f"at most {checked.max_episode_steps:,} steps" if checked.max_episode_steps else "without a time limit"
    console.print(f"[bold]{checked.env}[/]: keeps to its specs; episodes {limit}", highlight=False, soft_wrap=True)
    table = Table("tensor", "shape", "dtype", "minimum", "maximum", box=None, header_style="bold")
    for label, leaves in (("observation", checked.observation), ("action", checked.action)):
        for leaf in leaves:
            path = "".join(f"\\[{key}]" for key in leaf.path)
            table.add_row(label + path, _shape(leaf), leaf.dtype, _bound(leaf.minimum, "−∞"), _bound(leaf.maximum, "∞"))
    console.print(table)
    console.print(
        f"{checked.episodes} random episodes: mean return {checked.mean_return:z.6g}, mean length "
        f"{checked.mean_length:.6g}, rewards {checked.reward_minimum:z.6g} to {checked.reward_maximum:z.6g}; "
        f"{checked.terminated} terminated, {checked.truncated} truncated",
        highlight=False,
        soft_wrap=True,
    )
    for warning in checked.warnings:
        console.print(f"[yellow]warning: {escape(warning)}[/]", highlight=False, soft_wrap=True)


def _shape(spec: TensorSpec) -> str:
    return " × ".join(map(str, spec.shape)) if spec.shape else "scalar"


def _bound(bound: float | list[float | None] | None, unbounded: str) -> str:
    values = bound if isinstance(bound, list) else [bound]
    shown = ", ".join(unbounded if value is None else f"{value:.4g}" for value in values[:8])
    return f"{shown}, …" if len(values) > 8 else shown
