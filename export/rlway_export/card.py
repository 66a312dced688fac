"""The model card: a bundle's README.md, for people.

In:      the manifest, the sizes of the files.
Out:     Markdown.
"""

from __future__ import annotations

from rlway_client.manifest import Manifest
from rlway_client.specs import TensorSpec

OBSERVATIONS = {
    "visited": "The observations are some that the trained policy visited.",
    "given": "The observations are some that were given for it.",
    "sampled": "The observations were drawn within their bounds: none that the policy visits were at hand.",
}


def model_card(manifest: Manifest, file_bytes: dict[str, int]) -> str:
    """What the policy is, how well it does, how the files compare, how to use it."""
    return f"""# {manifest.policy}, version {manifest.version}

{_origin(manifest)}
## Inputs and outputs

| tensor | spec |
|---|---|
{_rows(manifest)}

{_noise_meaning(manifest)}{_memory(manifest)}

## Parity with the SavedModel

| file | bytes | observations | batch sizes | max abs difference | changed actions | allowed |
|---|---|---|---|---|---|---|
{_parity(manifest, file_bytes)}

`parity.json` has every batch size by itself. {OBSERVATIONS[manifest.compared_over]}

## Use

```sh
rlway serve models                                     # HTTP
rlway edge models/{manifest.policy}/{manifest.version} --episodes 5    # in process, TFLite
```
"""


def _origin(manifest: Manifest) -> str:
    """Where it comes from, and how well it does as far as that is known."""
    training = manifest.training
    if "steps" not in training:  # the run of somebody else's program, which has left no account
        notes = "".join(f"\n- {note}" for note in manifest.notes)
        return f"""A policy of TF-Agents, exported by RLway from its SavedModel. How it was trained is not known here.

- checkpoint: {training.get("checkpoint") or "the SavedModel's own weights"}{notes}
"""
    final = training.get("final_return")
    quality = (
        f"{final:.1f} (uniformly random actions: {training['random_return']:.1f})"
        if final is not None
        else "not measured"
    )
    kind = f"{(manifest.algorithm or '').upper()} policy for `{manifest.env}`"
    return f"""A {kind}, trained with TF-Agents and exported by RLway.

| | |
|---|---|
| mean return | {quality} |
| environment steps, gradient updates | {training["steps"]:,}, {training["iterations"]:,} |
| training time | {training["wall_s"]:.0f} s |
| seed, preset | {training["seed"]}, {training["preset"] or "none"} |
| checkpoint | {training["checkpoint"]} |

![Mean return over training](learning_curve.png)
"""


def _rows(manifest: Manifest) -> str:
    specs: list[tuple[str, TensorSpec]] = [("input", spec) for spec in manifest.interface.inputs]
    specs += [("output", spec) for spec in manifest.interface.results]
    return "\n".join(f"| {kind} `{spec.name}` | {spec.label} |" for kind, spec in specs)


def _noise_meaning(manifest: Manifest) -> str:
    if manifest.noise is None:
        return "The action is always the greedy one."
    if manifest.action.is_discrete:
        return (
            "The action is greedy when `noise` is zero. Gumbel noise times T samples the Boltzmann policy at "
            "temperature T, +1e30 on one entry forces that action, and −inf masks one."
        )
    return "The action is greedy when `noise` is zero. Standard normal noise samples the trained distribution."


def _memory(manifest: Manifest) -> str:
    if not manifest.state:
        return ""
    return (
        "\n\nThe policy remembers: each `next_…` goes in with the next observation, under the name without `next_`; "
        "`reset` is true where an episode begins."
    )


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
