"""A report on one screen.

In:      `Report`, a console.
Out:     what the path is, what the policy takes and gives, and what an export would do, a line each.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from rlway_client.contract.sampling_sentences import MEANINGS
from rlway_export.inspect.nest_tree import nest_tree
from rlway_export.inspect.printable import printable, short
from rlway_export.inspect.report import Checkpoints, Memory, Policy, PolicyFolder, Report, Signature, Training, Written

Row = tuple[str, RenderableType]
MOST_SHOWN = 8  # of a list
MADE_FROM = "the other formats are made from these; an export also compares every file with the policy"


def show(report: Report, console: Console) -> None:
    """Prints the report."""
    console.print(Text.assemble((printable(report.path), "bold"), f": {printable(report.title)}"), soft_wrap=True)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, shown in rows(report):
        grid.add_row(key, Text(printable(shown)) if isinstance(shown, str) else shown)
    console.print(grid)
    console.print(Text(f"  {printable(report.export.command)}"), soft_wrap=True)


def rows(report: Report) -> Iterator[Row]:
    """Each line of the screen, and what it is about."""
    yield from _origin(report)
    if report.policy is not None:
        yield from _tensors(report.policy)
    else:
        for signature in _calculating(report.signatures):
            yield short(signature.name) or "tensors", _signature(signature)
    yield from _rows_at_once(report)
    if report.memory is not None:
        yield "memory", _memory(report.memory)
    yield from _export(report)


def _rows_at_once(report: Report) -> Iterator[Row]:
    saved, exported = report.saved_rows, report.exported_rows
    if report.export.refused is not None:
        if saved is not None:
            yield "rows", f"saved for {saved} at once"
    elif exported is not None:
        yield "rows", f"{exported} at once; the files run the rows of a batch one after the other"
    else:
        yield "rows", "any number at once" if saved is None else f"saved for {saved} at once, the files take any number"


def _origin(report: Report) -> Iterator[Row]:
    yield "written", _written(report.written)
    if report.training is not None:
        yield "training", _training(report.training)
    elif report.written.agent is not None:
        yield "agent", f"probably {report.written.agent}, by the name {short(report.written.agent_seen or '')}"
    if report.onnx is not None:
        yield "operators", f"{_counted(report.onnx.operators)}; IR version {report.onnx.ir_version}"
    if report.keras is not None:
        yield "layers", _counted(report.keras.layers)
    if report.contents:
        yield "contents", _listed([f"{short(name)} {size:,} numbers" for name, size in report.contents.items()])
    if report.policies:
        yield "policies", ", ".join(map(_folder, report.policies))
    if report.checkpoints is not None:
        yield "checkpoints", _checkpoints(report.checkpoints)
    if report.train_step is not None:
        yield "train step", "not counted" if report.train_step < 0 else f"{report.train_step:,}"


def _written(written: Written) -> str:
    by = short(written.by) if written.by else "a program that does not say its name"
    time = f"file of {written.file_time[:16].replace('T', ' ')} UTC" if written.file_time else None
    return ", ".join(part for part in (by, short(written.version or ""), time) if part)


def _training(training: Training) -> str:
    preset = f" (preset {training.preset})" if training.preset else ""
    frames = f", {training.frame_stack} frames an observation" if training.frame_stack > 1 else ""
    begun = f"{training.algorithm} in {short(training.env)}{preset}{frames}, seed {training.seed}"
    if not training.has_ended:
        return f"{begun}; it has not ended"
    ended = f"{begun}; ended after {training.steps or 0:,} steps"
    return f"{ended}; return {training.fresh.sentence}" if training.fresh else ended


def _folder(folder: PolicyFolder) -> str:
    how = f"draws by {', '.join(folder.draws)}" if folder.draws else "greedy"
    return f"{folder.name} ({how}{', exported' if folder.is_exported else ''})"


def _checkpoints(checkpoints: Checkpoints) -> str:
    taken = "" if checkpoints.exported is None else f"; {checkpoints.exported} is exported"
    return _listed([str(number) for number in checkpoints.numbers]) + taken


def _counted(kinds: dict[str, int]) -> str:
    return _listed([f"{count} {short(kind)}" for kind, count in kinds.items()])


def _listed(parts: list[str]) -> str:
    if len(parts) <= MOST_SHOWN:
        return ", ".join(parts)
    return f"{', '.join(parts[: MOST_SHOWN - 1])}, … {parts[-1]} ({len(parts)} in all)"


def _tensors(policy: Policy) -> Iterator[Row]:
    yield "observation", nest_tree(policy.observation)
    yield "action", nest_tree(policy.actions)
    yield "chooses", _chooses(policy)
    if policy.time_step:
        names = ", ".join(spec.name for spec in policy.time_step)
        yield "time step", f"it reads {names}, which a caller may give"
    if policy.state:
        yield "state", nest_tree(policy.state)
    if policy.outputs:
        yield "outputs", ", ".join(f"{spec.name} {spec.label}" for spec in policy.outputs)


def _chooses(policy: Policy) -> str:
    drawn = ", then ".join(f"{draw.size} {MEANINGS[draw.distribution]}" for draw in policy.draws)
    noise = f"the files take {drawn} numbers as noise, and zeros give the most likely action"
    if policy.chooses == "epsilon-greedy":
        epsilon = "an ε that is not constant" if policy.epsilon is None else f"ε = {policy.epsilon:g}"
        return f"ε-greedily with {epsilon}; {noise if policy.draws else 'the files are greedy'}"
    if policy.chooses == "sampled":
        return f"by draws from its distribution; {noise}"
    return f"greedily; {noise}" if policy.draws else "greedily"


def _calculating(signatures: list[Signature]) -> list[Signature]:
    """Those that make something of something, each once; all of them if none does."""
    found = [one for one in signatures if one.inputs and one.outputs]
    alike = [(one.inputs, one.outputs) for one in found]
    return [one for i, one in enumerate(found) if alike[i] not in alike[:i]] or signatures


def _signature(signature: Signature) -> str:
    taken, given = (
        _listed([f"{short(tensor.name)} {tensor.label}" for tensor in side])
        for side in (signature.inputs, signature.outputs)
    )
    return f"{taken or 'nothing'} → {given or 'nothing'}"


def _memory(memory: Memory) -> str:
    weights = f"{memory.parameters:,} parameters in {memory.weight_bytes:,} bytes"
    if memory.activation_bytes is None:
        return weights
    return f"{weights}; at most {memory.activation_bytes:,} bytes of activations for one observation"


def _export(report: Report) -> Iterator[Row]:
    export = report.export
    if export.refused is not None:
        yield "export", Text(f"would be refused: {printable(export.refused)}", style="red")
    else:
        works = [name for name, refusal in export.formats.items() if refusal is None]
        yield "export", f"converts to {', '.join(works) or 'the SavedModel alone'}; {MADE_FROM}"
        for name, refusal in export.formats.items():
            if refusal is not None:
                yield f"not {name}", Text(printable(refusal), style="red")
    for note in export.notes:
        yield "note", Text(printable(note), style="yellow")
