"""The model card: a bundle's README.md, for people.

In:      the manifest, the sizes of the files.
Out:     Markdown.
"""

from __future__ import annotations

from typing import Any

from rlway_client.manifest import Manifest
from rlway_client.specs import TensorSpec


def model_card(manifest: Manifest, file_bytes: dict[str, int]) -> str:
    """What the policy is, how well it does, how the files compare, how to use it."""
    training = manifest.training
    return f"""# {manifest.policy}, version {manifest.version}

A {manifest.algorithm.upper()} policy for `{manifest.env}`, trained with TF-Agents and exported by RLway.

| | |
|---|---|
| mean return | {_quality(training)} |
| environment steps, gradient updates | {training["steps"]:,}, {training["iterations"]:,} |
| training time | {training["wall_s"]:.0f} s |
| seed, preset | {training["seed"]}, {training["preset"] or "none"} |
| checkpoint | {training["checkpoint"]} |

![Mean return over training](learning_curve.png)

## Inputs and outputs

| tensor | spec |
|---|---|
{_rows(manifest)}

The action is greedy when `noise` is zero. {_noise_meaning(manifest)}

## Parity with the SavedModel

| file | bytes | observations | batch sizes | max abs difference | changed actions | allowed |
|---|---|---|---|---|---|---|
{_parity(manifest, file_bytes)}

`parity.json` has every batch size by itself.

## Use

```sh
rlway serve models                                     # HTTP
rlway edge models/{manifest.policy}/{manifest.version} --episodes 5    # in process, TFLite
```
"""


def _quality(training: dict[str, Any]) -> str:
    final, evaluated = training["final_return"], training["evaluated_return"]
    if final is not None:
        return f"{final:.1f} (uniformly random actions: {training['random_return']:.1f})"
    return "not measured" if evaluated is None else f"{evaluated:.1f} in the evaluation during training"


def _rows(manifest: Manifest) -> str:
    specs: list[tuple[str, TensorSpec]] = [("input", spec) for spec in manifest.observation]
    if manifest.noise is not None:
        specs.append(("input", manifest.noise))
    specs += [("output", spec) for spec in (manifest.action, *manifest.outputs)]
    return "\n".join(f"| {kind} `{spec.name}` | {spec.label} |" for kind, spec in specs)


def _noise_meaning(manifest: Manifest) -> str:
    if manifest.action.is_discrete:
        return (
            "Gumbel noise times T samples the Boltzmann policy at temperature T, +1e30 on one entry forces that "
            "action, and −inf masks one."
        )
    return "Standard normal noise samples the trained distribution."


def _parity(manifest: Manifest, file_bytes: dict[str, int]) -> str:
    rows = []
    for p in manifest.parity:
        batches = ", ".join(map(str, p.batch_sizes))
        allowed = p.threshold.replace("|", "\\|")
        rows.append(
            f"| `{p.file}` | {file_bytes[p.file]:,} | {p.observations:,} | {batches} | {p.max_difference:.1e} | "
            f"{p.argmax_flips} | {allowed} |"
        )
    return "\n".join(rows)
