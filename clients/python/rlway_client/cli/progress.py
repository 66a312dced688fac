"""What all commands that play episodes share: a flag, a progress bar, the printed outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rlway_client.common.returns import show_returns
from rlway_client.envs.episodes import PlayedEpisodes

TimeLimit = Annotated[
    int | None, typer.Option(help="Steps an episode; by default as many as in training, in that environment.", min=1)
]


@contextmanager
def episode_progress(title: str, episodes: int) -> Iterator[Callable[[float], None]]:
    """Yields the function to call with each episode's return. The bar goes to stderr: stdout is for results."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=episodes)
        yield lambda _: progress.advance(task)


def print_played(played: PlayedEpisodes, where: str, as_json: bool) -> None:
    """The outcome as one line, or as JSON."""
    if as_json:
        print(msgspec.json.encode(played).decode())
    else:
        print(f"{where}: mean return {show_returns(played.returns)}, {played.actions_per_s:,.0f} actions/s")
