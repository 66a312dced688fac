"""The face of a policy in C: names, sizes, and what a caller must know.

In:      the manifest, how much stack a call takes.
Out:     the text of `policy.h`.
"""

from __future__ import annotations

import re

from rlway_client.manifest import Manifest
from rlway_client.specs import TensorSpec

MOST_BOUNDS = 16  # an image has thousands, all alike


def header(manifest: Manifest, stack_bytes: int) -> str:
    """`policy.h`."""
    inputs, outputs = _inputs(manifest), _outputs(manifest)
    about = [
        f"{manifest.policy}, version {manifest.version}: a {manifest.algorithm.upper()} policy for {manifest.env}.",
        f"Written by RLway {manifest.versions.get('rlway-export', '')} on {manifest.created}.",
        "",
        "    cc -std=c99 -O2 -c policy.c        and -lm where the program is linked",
        "",
        "Inputs:",
        *(_describe(spec) for spec in inputs),
        "",
        "Outputs; NULL for what is not wanted:",
        *(_describe(spec) for spec in outputs),
        "",
        _noise_meaning(manifest),
        "A call allocates nothing, keeps nothing for the next one, may run in several threads at once, and takes about",
        f"{stack_bytes} bytes of stack besides what its calls to math.h take.",
        "",
        "A program with several policies compiles each policy.c with a name of its own, -DRLWAY_ACT=first_act, and",
        "defines RLWAY_ACT likewise before including its policy.h.",
    ]
    sizes = "\n".join(f"#define RLWAY_{c_name(spec).upper()}_SIZE {spec.size}" for spec in [*inputs, *outputs])
    text = "\n".join(f" * {line}".rstrip() for line in map(comment, about))
    return f"""/*
{text}
 */
#ifndef RLWAY_POLICY_H
#define RLWAY_POLICY_H

#include <stdint.h>

#define RLWAY_POLICY "{manifest.policy}"
#define RLWAY_VERSION {manifest.version}
{sizes}

#ifndef RLWAY_ACT
#define RLWAY_ACT rlway_act
#endif

#ifdef __cplusplus
extern "C" {{
#endif

{signature(manifest)};

#ifdef __cplusplus
}}
#endif

#endif
"""


def signature(manifest: Manifest) -> str:
    """The function's head."""
    parameters = [f"const float *{c_name(spec)}" for spec in _inputs(manifest)]
    parameters += [f"{c_type(spec)} *{c_name(spec)}" for spec in _outputs(manifest)]
    return f"void RLWAY_ACT({', '.join(parameters)})"


def c_type(spec: TensorSpec) -> str:
    """Discrete actions are few: what int64 is for in TensorFlow fits 32 bits."""
    return "int32_t" if spec.is_discrete else "float"


def c_name(spec: TensorSpec) -> str:
    """The tensor's name as C takes it."""
    return re.sub(r"\W", "_", spec.name, flags=re.ASCII)


def comment(line: str) -> str:
    """A line that neither ends a comment nor begins another."""
    return line.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ")


def _inputs(manifest: Manifest) -> list[TensorSpec]:
    return [*manifest.observation, *([manifest.noise] if manifest.noise else [])]


def _outputs(manifest: Manifest) -> list[TensorSpec]:
    return [manifest.action, *manifest.outputs]


def _describe(spec: TensorSpec) -> str:
    kind = f"{c_type(spec)}[{spec.size}]"
    low, high = spec.bounds()
    pairs = [f"{a:g} to {b:g}" for a, b in zip(low.ravel(), high.ravel(), strict=True)]
    if spec.minimum is None and spec.maximum is None:
        bounds = "unbounded"
    elif len(set(pairs)) == 1:
        bounds = pairs[0]
    else:
        bounds = "; ".join(pairs[:MOST_BOUNDS]) + ("; ..." if len(pairs) > MOST_BOUNDS else "")
    return f"    {c_name(spec):<12} {kind:<12} {bounds}"


def _noise_meaning(manifest: Manifest) -> str:
    if manifest.noise is None:
        return "The action is greedy."
    if manifest.action.is_discrete:
        return "The action is the index of the largest q_values + noise; noise may be NULL, which is zeros: greedy."
    return "Standard normal noise samples the trained distribution; noise may be NULL, which is zeros: greedy."
