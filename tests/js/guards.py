"""Guards and actions that hypothesis generates, with what Python's guard makes of them, for the guard in JavaScript.

`guarded_episodes`: episodes, and each action as Python's guard gives it, to the bit.
`judged_guards`:    guards that fit their specs or do not, and what Python says of those that do not.
`replaying_bundles`: some of the episodes as policies.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rlway_client.contract.errors import ActionRefused, BundleInvalid
from rlway_client.contract.guard import ActionLimits, Guard, Limit, decode_guard, encode_guard
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.edge_guard import EdgeGuard
from tests.guards import DTYPES, Actions, Case, Step, guard_cases
from tests.replaying import replaying_policy
from tests.unfit_guards import FLAG, REAL, UNFIT, WHOLE, of

HERE = [dtype for dtype in DTYPES if dtype != "float16"]  # of which JavaScript has no arrays
EPISODES, MUTANTS, POLICIES, STEPS = 300, 400, 12, 200
# Numbers that both languages read alike: 1.0 is a whole number in JavaScript.
ODD: list[Any] = [
    None,
    True,
    "1",
    {},
    [],
    [1],
    [1, None],
    -1,
    0,
    1,
    3,
    9,
    0.1,
    0.5,
    -2.5,
    1e-7,
    1e-60,
    1e39,
    2**70,
    -(2**63),
]
GENERATED = settings(
    derandomize=True, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
)


class Clock:
    """The time that an episode says it is."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def guarded_episodes() -> list[dict[str, Any]]:
    """One episode or several of each case, in which every fifth action is replaced, as by a server's."""
    return [_play(case) for case in [*_cases(EPISODES), *_demanding_cases()]]


def replaying_bundles(models: Path) -> list[dict[str, Any]]:
    """Bundles whose action on the observation i is that of the i-th step."""
    found = []
    for i, case in enumerate(_cases(POLICIES)):
        tables = {spec.name: np.stack([step.actions[spec.name] for step in case.steps]) for spec in case.specs}
        replaying_policy(models, case.specs, tables, case.guard, f"guarded-{i}")
        found.append(_play(case))
    return found


def judged_guards() -> list[dict[str, Any]]:
    """The text of each guard, and the sentence that refuses it; `exact` unless that is the sentence of a library."""
    found = [
        _judge(specs, content if isinstance(content, bytes) else json.dumps(content)) for specs, content, _ in UNFIT
    ]
    mutants: list[dict[str, Any]] = []

    @settings(GENERATED, max_examples=MUTANTS)
    @given(st.data())
    def mutate(data: st.DataObject) -> None:
        specs = data.draw(st.sampled_from([REAL, WHOLE, FLAG]))
        fields = st.sampled_from(["minimum", "maximum", "change_per_step", "change_per_second", "safe"])
        limits = data.draw(st.dictionaries(fields, st.sampled_from(ODD), max_size=3))
        reactions = st.sampled_from(["clamp", "hold", "safe", "refuse", "stop", None])
        rules = data.draw(
            st.dictionaries(st.sampled_from(["out_of_range", "too_fast", "non_finite"]), reactions, max_size=2)
        )
        mutants.append(_judge(specs, json.dumps(of({"safe": 0} | limits, specs[0].name, **rules))))

    mutate()
    return found + mutants


def _cases(count: int) -> list[Case]:
    cases: list[Case] = []

    @settings(GENERATED, max_examples=count)
    @given(guard_cases(HERE, most_steps=12))
    def collect(case: Case) -> None:
        cases.append(case)

    collect()
    return cases


def _demanding_cases() -> list[Case]:
    """Long episodes in which every change is limited: a rounding that is left out shows, as does the end of int64."""
    generator = np.random.default_rng(0)
    ends = [-(2**63), 2**63 - 1]
    wild = [generator.choice([-1, 0, 1, *ends], 4), *generator.integers(ends[0], ends[1], (STEPS, 4))]
    actions: dict[str, list[AnyArray]] = {
        "float32": [*generator.normal(0, 3, (STEPS, 4)).astype(np.float32)],
        "float64": [*generator.normal(0, 3, (STEPS, 4))],
        "int64": [row for pair in zip(wild, generator.choice([1, *ends], (STEPS, 4)), strict=False) for row in pair],
    }
    cases = []
    for dtype, rows in actions.items():
        rates = [*generator.uniform(0.1, 50, 4).tolist()] if dtype != "int64" else [1e18, 3e20, None, None]
        steps: Limit = None if dtype != "int64" else [None, None, 2**63 - 1, 2**62 + 1]
        limits = ActionLimits(change_per_second=rates, change_per_step=steps, safe=0)
        guard = Guard(schema_version=1, actions={"action": limits})
        times_s = generator.uniform(0, 0.1, len(rows)).tolist()
        made = [Step({"action": row}, t, i == 0) for i, (row, t) in enumerate(zip(rows, times_s, strict=True))]
        cases.append(Case([TensorSpec("action", (4,), dtype)], guard, made))
    return cases


def _play(case: Case) -> dict[str, Any]:
    clock, given_s = Clock(), 0.0
    guard, names = EdgeGuard(case.guard, case.specs, clock), [spec.name for spec in case.specs]
    steps: list[dict[str, Any]] = []
    for i, step in enumerate(case.steps):
        if step.first:
            guard.reset()
        clock.now_s = given_s + step.elapsed_s
        made: dict[str, Any] = {"first": step.first, "now_s": json.dumps(clock.now_s), "rows": _octets(step.actions)}
        try:
            outputs = guard.apply([step.actions[name][np.newaxis] for name in names])
            made["given"], given_s = _octets(dict(zip(names, outputs, strict=True))), clock.now_s
        except ActionRefused as error:
            made["refused"] = str(error)
        made["violated"] = dict(guard.violated)
        if i % 5 == 4 and all(np.isfinite(array).all() for array in step.actions.values()):
            made["executed"], given_s = made["rows"], clock.now_s
            guard.executed([step.actions[name][np.newaxis] for name in names])
        steps.append(made)
    return {"specs": msgspec.to_builtins(case.specs), "guard": encode_guard(case.guard).decode(), "steps": steps}


def _octets(arrays: Actions | Arrays) -> dict[str, str]:
    return {name: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode() for name, array in arrays.items()}


def _judge(specs: list[TensorSpec], text: str | bytes) -> dict[str, Any]:
    content = text if isinstance(text, bytes) else text.encode()
    refusal: str | None = None
    try:
        decode_guard(content, "guard.json", specs)
    except BundleInvalid as error:
        refusal = str(error)
    is_ours = (
        refusal is not None and re.match(r"guard\.json: actions", refusal) and not re.search(rb"NaN|Infinity", content)
    )
    told = content.decode(errors="replace")
    return {"specs": msgspec.to_builtins(specs), "guard": told, "refusal": refusal, "exact": bool(is_ours)}
