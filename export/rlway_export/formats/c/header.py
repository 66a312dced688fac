"""The header of a policy in C: its function's prototype, with what a caller must know.

In:      the manifest, the function's signature, how much memory it takes; the guard, if there is one.
Out:     the text of `policy.h`.
"""

from __future__ import annotations

from rlway_client.contract.interface import NEUTRAL
from rlway_client.contract.lookup_table import looked_up
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.nesting import places
from rlway_client.contract.sampling_sentences import MEANINGS
from rlway_export.formats.c.comments import comment
from rlway_export.formats.c.guard import CGuard
from rlway_export.formats.c.meaning import meaning_lines
from rlway_export.formats.c.signature import RESET, CSignature, Parameter

MOST_BOUNDS = 16  # an image has thousands, all alike
GUMBEL = "Gumbel noise samples the trained distribution"


def header(manifest: Manifest, signature: CSignature, memory: str, guard: CGuard | None = None) -> str:
    """`policy.h`; `memory` says how much memory a call takes."""
    keys = places(manifest.interface)
    about = [
        f"{manifest.policy}, version {manifest.version}: {_what(manifest)}.",
        f"Written by RLway {manifest.versions.get('rlway-export', '')} on {manifest.created}.",
        "",
        "    cc -std=c99 -O3 -c policy.c        and -lm where the program is linked",
        "",
        "Inputs:",
        *(_describe(parameter, keys) for parameter in (*signature.observation, *signature.noise)),
        *(
            f"{_describe(parameter, keys)}; NULL is {NEUTRAL[parameter.spec.name]:g}"
            for parameter in signature.time_step
        ),
        "",
        *_state_meaning(signature, keys),
        "Outputs; NULL for what is not wanted:",
        *(_describe(parameter, keys) for parameter in signature.outputs),
        "",
        _noise_meaning(manifest),
        memory,
        "",
        *([guard.about(), ""] if guard else []),
        "A program with several policies compiles each policy.c with a name of its own, -DRLWAY_ACT=first_act, and",
        f"defines RLWAY_ACT likewise before including its policy.h{'; RLWAY_GUARD as well' if guard else ''}.",
    ]
    text = "\n".join(f" * {line}".rstrip() for line in map(comment, "\n".join(about).splitlines()))
    sizes = [f"#define {parameter.macro} {parameter.spec.size}" for parameter in signature.tensors]
    constants = "\n".join([*sizes, *meaning_lines(manifest, signature)])
    return f"""/*
{text}
 */
#ifndef RLWAY_POLICY_H
#define RLWAY_POLICY_H

#include <stdint.h>

#define RLWAY_POLICY "{manifest.policy}"
#define RLWAY_VERSION {manifest.version}
{constants}

#ifndef RLWAY_ACT
#define RLWAY_ACT rlway_act
#endif
{guard.macros() if guard else ""}
#ifdef __cplusplus
extern "C" {{
#endif

{signature.prototype()};
{f"{guard.prototype()};" if guard else ""}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _what(manifest: Manifest) -> str:
    kind = f"a {manifest.algorithm.upper()} policy" if manifest.algorithm else "a policy"
    return f"{kind} for {manifest.env}" if manifest.env else kind


def _describe(parameter: Parameter, keys: dict[str, str]) -> str:
    spec = parameter.spec
    low, high = spec.bounds()
    pairs = [f"{a:g} to {b:g}" for a, b in zip(low.ravel(), high.ravel(), strict=True)]
    if spec.minimum is None and spec.maximum is None:
        bounds = "unbounded"
    elif len(set(pairs)) == 1:
        bounds = pairs[0]
    else:
        bounds = "; ".join(pairs[:MOST_BOUNDS]) + ("; ..." if len(pairs) > MOST_BOUNDS else "")
    shape = f", {' x '.join(map(str, spec.shape))}" if len(spec.shape) > 1 else ""
    key = f", {keys[spec.name]}" if spec.name in keys else ""
    table = f", looked up in a table: {looked_up(spec)}" if spec.is_lookup else ""
    return f"    {parameter.name:<12} {f'{parameter.kind}[{spec.size}]':<12} {bounds}{shape}{key}{table}"


def _state_meaning(signature: CSignature, keys: dict[str, str]) -> list[str]:
    if not signature.state:
        return []
    return [
        "What the policy remembers, kept by the caller between calls and changed by each:",
        *(_describe(parameter, keys) for parameter in signature.state),
        f"    {RESET:<12} {'int':<12} other than 0 where an episode begins: what is remembered is forgotten first,",
        f"{'':30}and need not have been set",
        "",
    ]


def _noise_meaning(manifest: Manifest) -> str:
    if manifest.noise is None:
        return "The action is greedy."
    interface = manifest.interface
    draws = interface.noise_draws
    if len(draws) == 1 and draws[0].distribution == "gumbel":
        scores = interface.choices[0].scores if interface.choices else None
        sampled = f"The action is the index of the largest {scores.name} + noise" if scores else GUMBEL
        return f"{sampled}; noise may be NULL, which is zeros: greedy."
    if len(draws) == 1:
        return "Standard normal noise samples the trained distribution; noise may be NULL, which is zeros: greedy."
    parts = ", then\n".join(f"    {draw.size} {MEANINGS[draw.distribution]} numbers" for draw in draws)
    return f"Noise that samples the trained distribution holds\n{parts};\nit may be NULL, which is zeros: greedy."
