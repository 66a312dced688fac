"""`rlway doctor`: what is installed, what the machine allows, what is served and could be, what is wrong with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from rlway_client.cli.connection import KeyOption
from rlway_client.contract.errors import UsageError
from rlway_client.doctor import machine, models, ports, runtimes, versions
from rlway_client.doctor.finding import Finding, found_by

PORTS = (8080, 8500)
MOST_POLICIES = 5  # that are listed while nothing is wrong with them, so that all fits on a screen


def doctor(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[MODELS]", help="Folder of bundles, models/<policy>/<version>/.")
    ] = None,
    port: Annotated[
        list[int] | None,
        typer.Option(help="Port to look at, may be repeated; by default 8080, and 8500 for gRPC."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address that a server would listen on.")] = "127.0.0.1",
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at packages, runtimes, the machine, ports and the models folder, and say what is wrong and what to do.

    Nothing is changed, no TensorFlow is loaded and no model is run: `rlway verify` runs them. Without MODELS it looks
    at ./models, which may be missing. Exits with 1 if something is wrong.
    """
    numbers = port or list(PORTS)
    for number in numbers:
        if not 1 <= number <= 65535:
            raise UsageError(f"--port: expected 1 to 65535, got {number}.")
    findings = [
        *found_by("versions", "rlway", versions.rlway_packages),
        *found_by("versions", "Python", versions.python),
        *found_by("versions", "libraries", versions.libraries),
        *found_by("versions", "training", versions.trainers),
        *found_by("runtimes", "onnxruntime", runtimes.onnxruntime),
        *found_by("runtimes", "LiteRT", runtimes.litert),
        *found_by("runtimes", "GPUs", runtimes.gpus),
        *found_by("machine", "processor", machine.processor),
        *found_by("machine", "cores", machine.cores),
        *found_by("machine", "memory", machine.memory),
        *found_by("machine", "open files", machine.open_files),
    ]
    for number in numbers:
        findings += found_by("ports", str(number), partial(ports.port, host, number, key))
    at = folder or models.MODELS
    findings += found_by("models", f"{at}/", partial(models.models_folder, at, asked_for=folder is not None))
    wrong = [finding for finding in findings if not finding.ok]
    if as_json:
        print(msgspec.json.encode({"ok": not wrong, "findings": [one.as_values() for one in findings]}).decode())
    else:
        _show(findings, Console())
    if wrong:
        raise typer.Exit(1)


def _show(findings: list[Finding], console: Console) -> None:
    shown, more = _without_many(findings)
    area, width = "", max(len(finding.subject) for finding in shown)
    for finding in shown:
        heading = "" if finding.area == area else finding.area
        area = finding.area
        line = Text(f"{heading:10}", style="bold")
        line.append(f"{finding.subject:{width}}  ", style="not bold")
        line.append(finding.state, style="not bold" if finding.ok else "not bold red")
        _print(console, line)
        if finding.remedy:
            _print(console, Text(f"{'':10}{'':{width}}  → {finding.remedy}", style="yellow"))
    if more:
        _print(console, Text(f"{'':10}and {more} more policies, with which nothing is wrong"))
    wrong = sum(not finding.ok for finding in findings)
    _print(console, Text(f"{wrong} wrong, see →" if wrong else "nothing is wrong", style="bold"))


def _without_many(findings: list[Finding]) -> tuple[list[Finding], int]:
    """The findings without those of further policies that are well, and how many these are."""
    well = [finding for finding in findings if finding.area == "models" and finding.ok][1:]  # the first is the folder
    hidden = {id(finding) for finding in well[MOST_POLICIES:]}
    return [finding for finding in findings if id(finding) not in hidden], len(hidden)


def _print(console: Console, line: Text) -> None:
    console.print(line, highlight=False, soft_wrap=True)
