"""The model card: a bundle's README.md, for people.

In:      the manifest, the folder with the files.
Out:     Markdown.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from rlway_client.common.returns import show_together
from rlway_client.contract.frame_sentence import frame_sentence
from rlway_client.contract.fresh_return import FreshReturn
from rlway_client.contract.game_lines import FILES
from rlway_client.contract.lookup_table import looked_up
from rlway_client.contract.manifest import Manifest, Measured
from rlway_client.contract.meaning_sentences import meaning_sentences
from rlway_client.contract.model_files import ENGINES
from rlway_client.contract.nesting import places
from rlway_client.contract.sampling_sentences import sampling_sentences
from rlway_client.contract.specs import TensorSpec
from rlway_export.bundle.usage import usage
from rlway_export.sources.base import SAVED_MODEL, SOURCE_FILE

OBSERVATIONS = {
    "visited": "The observations are some that the trained policy visited.",
    "given": "The observations are some that were given for it.",
    "sampled": "The observations were drawn within their bounds: none that the policy visits were at hand.",
}


def model_card(manifest: Manifest, folder: Path) -> str:
    """What the policy is, how well it does, how the files compare, how to use it."""
    return f"""# {manifest.policy}, version {manifest.version}

{_origin(manifest, folder)}
## Inputs and outputs

| tensor | spec |
|---|---|
{_rows(manifest)}

{" ".join([*_frames(manifest), *_noise_meaning(manifest), *sampling_sentences(manifest)])}{_state_meaning(manifest)}\
{_meaning(manifest)}

## Parity with {_reference(manifest)}

| file | observations | batch sizes | max abs difference | changed actions | allowed |
|---|---|---|---|---|---|
{_parity(manifest)}

`parity.json` has every batch size by itself. {OBSERVATIONS[manifest.compared_over]}

## The files

{_measured(manifest, folder)}
{_games(manifest)}
## Use

```sh
{usage(manifest)}
```
"""


def _reference(manifest: Manifest) -> str:
    """What the files were compared with."""
    file = manifest.training.get("file")
    return f"`{file}`" if file else "the SavedModel"


def _origin(manifest: Manifest, folder: Path) -> str:
    """Where the policy comes from, and how well it does, as far as that is known."""
    training = manifest.training
    if "file" in training:
        facts = [f"environment, as the export was told: `{manifest.env}`"] if manifest.env else []
        by = f", which {training['producer']} wrote" if training["producer"] else ""
        listed = "".join(f"- {fact}\n" for fact in (f"SHA-256 `{training['sha256']}`", *facts, *manifest.notes))
        kind = training.get("kind", "ONNX file")
        return f"A policy in the {kind} `{training['file']}`{by}, exported by RLway.\n\n{listed}"
    if "steps" not in training:  # a SavedModel of another program, which says nothing about its training
        checkpoint = training.get("checkpoint")
        environment = f"\n- environment, as the export was told: `{manifest.env}`" if manifest.env else ""
        notes = environment + "".join(f"\n- {note}" for note in manifest.notes)
        return f"""A policy, exported by RLway from its SavedModel. How it was trained is not known here.

- checkpoint: {"the SavedModel's own weights" if checkpoint is None else checkpoint}{notes}
"""
    curve = "\n![Mean return over training](learning_curve.png)\n" if (folder / "learning_curve.png").is_file() else ""
    kind = f"{(manifest.algorithm or '').upper()} policy for `{manifest.env}`"
    return f"""A {kind}, trained with TF-Agents and exported by RLway.

| | |
|---|---|
{_quality(training)}
| environment steps, gradient updates | {training["steps"]:,}, {training["iterations"]:,} |
| training time | {training["wall_s"]:.0f} s |
| seed, preset | {training["seed"]}, {training["preset"] or "none"} |
| checkpoint | {training["checkpoint"]} |
{curve}"""


def _quality(training: dict[str, Any]) -> str:
    """Rows of a table."""
    fresh, evaluated = FreshReturn.of(training), training["evaluated_return"]
    if fresh is None:
        shown = "not measured"
        if evaluated is not None:
            shown = f"{show_together([evaluated])[0]} in the evaluation during training"
        return f"| mean return | {shown} |"
    at_random = show_together([fresh.final_return, training["random_return"]])[1]
    rows = [f"| mean return | {fresh.words} |", f"| of uniformly random actions | {at_random} |"]
    if fresh.most_others is not None:
        others = f"at most {fresh.most_others:.1%} of all, with 95% confidence"
        rows.append(f"| episodes with another return | {others} |")
    if fresh.chosen_among is not None:
        chosen = f"{fresh.chosen_among:,} evaluated checkpoints, before the fresh episodes were played"
        rows.append(f"| chosen among | {chosen} |")
    return "\n".join(rows)


def _rows(manifest: Manifest) -> str:
    keys = places(manifest.interface)
    specs = [("input", spec) for spec in manifest.interface.inputs]
    specs += [("output", spec) for spec in manifest.interface.results]
    return "\n".join(
        f"| {kind} `{spec.name}`{_key(keys.get(spec.name))} | {spec.label}{_table(spec)} |" for kind, spec in specs
    )


def _key(place: str | None) -> str:
    """The tensor's place in the observation or in the action, where that is an object."""
    if place is None:
        return ""
    shown = place.replace("|", "\\|")
    fence = "``" if "`" in shown else "`"
    return f": {fence}{shown}{fence}"


def _table(spec: TensorSpec) -> str:
    """The values of a tensor that the policy looks up in a table."""
    return f", looked up in a table: {looked_up(spec)}" if spec.is_lookup else ""


def _frames(manifest: Manifest) -> list[str]:
    sentence = frame_sentence(manifest)
    return [] if sentence is None else [sentence]


def _meaning(manifest: Manifest) -> str:
    """What the numbers stand for, each tensor on a line of its own."""
    sentences = meaning_sentences(manifest)
    return "\n\n" + "\n".join(f"- {_plain(sentence)}" for sentence in sentences) if sentences else ""


def _noise_meaning(manifest: Manifest) -> list[str]:
    if manifest.noise is None:
        return ["The action is always the greedy one."]
    if len(manifest.draws) > 1:
        return []
    if manifest.interface.noise_draws[0].distribution == "gumbel":
        return [
            "The action is greedy when `noise` is zero. Gumbel noise times T samples the Boltzmann policy at "
            "temperature T, +1e30 on one entry forces that action, and −inf masks one.",
        ]
    return ["The action is greedy when `noise` is zero. Standard normal noise samples the trained distribution."]


def _state_meaning(manifest: Manifest) -> str:
    if not manifest.state:
        return ""
    return (
        "\n\nThe policy remembers: each `next_…` goes in with the next observation, under the name without `next_`; "
        "`reset` is true where an episode begins."
    )


def _parity(manifest: Manifest) -> str:
    rows = []
    for p in manifest.parity:
        batches = ", ".join(map(str, p.batch_sizes))
        allowed = p.threshold.replace("|", "\\|")
        rows.append(
            f"| `{p.file}` | {p.observations:,} | {batches} | {p.max_difference:.1e} | {p.argmax_flips} | {allowed} |"
        )
    return "\n".join(rows)


def _measured(manifest: Manifest, folder: Path) -> str:
    """The policy itself comes first: the speed of the others is relative to it."""
    first = manifest.measured[0]
    played = first.episodes > 0
    lines = ["| file | bytes | one action, µs | times faster | a batch changes |" + " mean return |" * played]
    lines.append("|---|---|---|---|---|" + "---|" * played)
    returns = iter(show_together([m.mean_return for m in manifest.measured if m.mean_return is not None]))
    for found in manifest.measured:
        size = sum(path.stat().st_size for path in _files(folder, found.file) if path.is_file())
        shown = f"{size:,}" if size else "–"
        name = {SAVED_MODEL: "SavedModel", SOURCE_FILE: _reference(manifest)}.get(found.file, f"`{found.file}`")
        times = f"{_digits(found.action_us)} | {_digits(found.times_faster(first))}"
        line = f"| {name} | {shown} | {times} | {_batch_changes(found)} |"
        lines.append(line if found.mean_return is None else f"{line} {next(returns)} |")
    machine = f"the machine that exported it ({platform.machine()}, one thread)"
    lines += [
        "",
        f"Times are medians on {machine}, with Python's share but for C source. What a batch changes is how far an "
        "observation's values are from those that it has by itself.",
    ]
    if played:
        lines[-1] += f" Returns are those of {first.episodes} episodes, which begin alike for all."
    return "\n".join(lines)


def _games(manifest: Manifest) -> str:
    """What a game has to give and gets, for each file that is for an engine."""
    files = {row.file for row in manifest.parity}
    tables = []
    for file, engine in ENGINES.items():
        if file in files:
            rows = [f"| `{name}` | {_plain(line)} |" for name, line in FILES[file](manifest).items()]
            tables.append("\n".join([f"\n## `{file}` in {engine}\n\n| tensor | stands for |\n|---|---|", *rows, ""]))
    return "".join(tables)


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _files(folder: Path, file: str) -> list[Path]:
    return [folder / file, *folder.glob("variables/*")] if file == SAVED_MODEL else [folder / file]


def _batch_changes(found: Measured) -> str:
    if found.batch_difference is None:
        return "takes single observations"
    if found.batch_invariant:
        return "nothing"
    return f"{found.batch_difference:.0e}, {found.batch_changed_actions} actions"


def _digits(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
