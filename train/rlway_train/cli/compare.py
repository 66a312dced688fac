"""`rlway train compare`: compares runs.

In:      run folders.
Out:     a table or JSON on stdout; the learning curves as a picture.
Refuses: UsageError for a picture that is not a PNG file or cannot be written.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, median, stdev
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rlway_client.common.returns import show_together
from rlway_client.contract.errors import UsageError
from rlway_train.reports.comparison import Group, read_groups


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders; those that differ only in their seeds form a group.")
    ],
    picture: Annotated[Path, typer.Option(help="PNG file to draw the learning curves in.")] = Path("comparison.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the groups as JSON.")] = False,
) -> None:
    """Compare runs: mean and spread of their learning curves over seeds, and their final returns.

    A run that is still training counts with its evaluations so far.
    """
    if picture.suffix.lower() != ".png":
        raise UsageError(f"--picture: expected a file that ends in .png, got {picture}")
    groups = read_groups(list(dict.fromkeys(run.resolve() for run in runs)))
    from rlway_train.common.quiet import quiet_libraries

    quiet_libraries()
    from rlway_train.reports.curves import plot_comparison

    try:
        plot_comparison(picture, groups)
    except OSError as error:
        raise UsageError(f"--picture {picture}: cannot be written: {error.strerror}.") from None
    if as_json:
        print(json.dumps({"picture": str(picture), "groups": [_facts(group) for group in groups]}))
        return
    table = Table("runs", box=None, header_style="bold")
    for name in ("seeds", "final return", "median", "std", "lowest", "best evaluation"):
        table.add_column(name, justify="right")
    for group in groups:
        facts = _facts(group)
        finals = [facts[name] for name in ("final_mean", "final_median", "final_std", "final_lowest")]
        row = _shown([*finals, facts["best_evaluation"]])
        table.add_row(group.label, ", ".join(map(str, facts["seeds"])), *row)
    Console().print(table)
    print(f"learning curves: {picture}")


def _facts(group: Group) -> dict[str, Any]:
    finals = group.finals
    return {
        "label": group.label,
        "seeds": [curve.seed for curve in group.curves],
        "runs": [str(curve.folder) for curve in group.curves],
        "final_returns": finals,
        "final_mean": mean(finals) if finals else None,
        "final_median": median(finals) if finals else None,
        "final_std": stdev(finals) if len(finals) > 1 else None,
        "final_lowest": min(finals) if finals else None,
        "best_evaluation": max(curve.best for curve in group.curves),
    }


def _shown(values: list[float | None]) -> list[str]:
    """The values with enough digits to tell them apart. None is a dash."""
    texts = iter(show_together([value for value in values if value is not None]))
    return ["–" if value is None else next(texts) for value in values]
