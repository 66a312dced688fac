"""The guard in C gives what docs/guard.md says, to the bit, also where a compiler may fuse multiplications."""

from __future__ import annotations

import ctypes
import subprocess
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.guard import ActionLimits, Guard
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.c_program import FLAGS, CRunner, find_compiler
from rlway_export.formats.c.guard import BITS, REFUSED, CGuard
from rlway_export.formats.c.signature import C_TYPES, Parameter
from rlway_export.formats.c.source import write_c
from tests.export.formats.c.c_policies import FUSING, make_manifest, model, node
from tests.guards import DTYPES, Actions, Case, guard_cases, judge

INCLUDES = "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n"
GUARD = Guard(
    schema_version=1,
    actions={"action": ActionLimits(minimum=-1.0, change_per_step=0.5, change_per_second=40.0, safe=0.0)},
    out_of_range="hold",
)


class Compiled:
    """The function of one case."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._parameters = [Parameter(spec, spec.name, C_TYPES[spec.dtype]) for spec in case.specs]
        made = CGuard(case.guard, self._parameters)
        (folder / "guard.c").write_text(f"{INCLUDES}{made.macros()}{made.prototype()};\n{made.function()}")
        library = folder / "guard.so"
        command = [find_compiler(), *FUSING, "-shared", "-fPIC", "-o", str(library), str(folder / "guard.c"), "-lm"]
        subprocess.run(command, check=True)
        self._guard: Any = ctypes.CDLL(str(library)).rlway_guard

    def __call__(self, before: Actions | None, elapsed_s: float, actions: Actions) -> tuple[int, Actions]:
        given = {one.name: actions[one.name].astype(one.dtype).reshape(-1) for one in self._parameters}
        kept = [None if before is None else before[one.name].astype(one.dtype) for one in self._parameters]
        addresses = [None if array is None else array.ctypes.data_as(ctypes.c_void_p) for array in kept]
        changed = [array.ctypes.data_as(ctypes.c_void_p) for array in given.values()]
        result: int = self._guard(*addresses, ctypes.c_double(elapsed_s), *changed)
        return result, given


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(guard_cases([dtype for dtype in DTYPES if dtype in C_TYPES], most_steps=30))
def test_the_compiled_function_does_what_the_rules_say(case: Case) -> None:
    """Whatever the specs, the guard, the actions and the times: compared with the rules, element by element."""
    with TemporaryDirectory() as folder:
        compiled = Compiled(case, Path(folder))
    before: Actions | None = None
    for step in case.steps:
        before = None if step.first else before
        expected = judge(case, step, before, step.elapsed_s)
        result, found = compiled(before, step.elapsed_s, step.actions)
        rules = {rule for rules in expected.violated.values() for rule in rules}
        assert result == sum(BITS[rule] for rule in rules) + (REFUSED if expected.actions is None else 0)
        if expected.actions is not None:
            for name, array in expected.actions.items():
                assert found[name].tobytes() == array.astype(found[name].dtype).tobytes()
            before = expected.actions


def test_a_product_is_rounded_before_it_is_added(tmp_path: Path) -> None:
    """Of numbers for which a fused multiply-add gives another action."""
    generator, n, elapsed_s = np.random.default_rng(2), 64, 0.93
    rates, before = (generator.uniform(*ends, n).astype(np.float32) for ends in ((1, 9), (-9, -1)))
    wanted = before + rates * np.float32(elapsed_s)
    fused = (before + rates.astype(np.float64) * np.float32(elapsed_s)).astype(np.float32)
    assert (wanted != fused).sum() > n // 8
    spec = TensorSpec("action", (n,), "float32")
    guard = Guard(schema_version=1, actions={"action": ActionLimits(change_per_second=rates.tolist(), safe=0.0)})
    compiled = Compiled(Case([spec], guard, []), tmp_path)
    result, found = compiled({"action": before}, elapsed_s, {"action": np.full(n, 99, np.float32)})
    assert result == BITS["too_fast"]
    assert found["action"].tobytes() == wanted.tobytes()


def write(folder: Path, guard: Guard, **fields: Any) -> Path:
    manifest = make_manifest(noise=None, **fields)
    made = model([node("MatMul", "observation", "w")], {"w": np.ones((3, 4), np.float32)}, manifest)
    write_c(made, manifest, folder, guard)
    CRunner(folder / "policy.c", manifest)  # it compiles without a warning
    return folder


def test_programs_in_cpp_call_the_guard_behind_the_policy(tmp_path: Path) -> None:
    """Under a name of their own, if they like."""
    write(tmp_path, GUARD)
    (tmp_path / "main.cpp").write_text(
        """#include <cstdio>
        #define RLWAY_ACT my_act
        #define RLWAY_GUARD my_guard
        #include "policy.h"
        int main() {
            const float observation[RLWAY_OBSERVATION_SIZE] = {1, 1, 1};
            float action[RLWAY_ACTION_SIZE];
            const float before[RLWAY_ACTION_SIZE] = {0, 0, 2.75f, 3};
            my_act(observation, action);
            const int clamped = my_guard(before, 0.01, action);
            std::printf("%d %d %g %g\\n", clamped, RLWAY_TOO_FAST, action[0], action[2]);
            action[3] = -2;
            const int held = my_guard(before, 0.01, action);
            std::printf("%d %d %g\\n", held & RLWAY_OUT_OF_RANGE, held & RLWAY_REFUSED, action[3]);
            action[3] = -2;
            std::printf("%d %g\\n", my_guard(nullptr, 0.01, action), action[0]);
        }"""
    )
    names = ["-DRLWAY_ACT=my_act", "-DRLWAY_GUARD=my_guard"]
    run = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True)
    run(["cc", *FLAGS, *names, "-c", "policy.c"])
    run(["c++", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.cpp", "policy.o", "-lm", "-o", "main"])
    assert run(["./main"]).stdout.splitlines() == ["2 2 0.4 3", "1 0 3", "1 0"]


def test_a_compiler_that_ignores_nan_is_refused(tmp_path: Path) -> None:
    """-ffast-math would take the check for NaN out."""
    write(tmp_path, GUARD)
    done = subprocess.run(["cc", "-ffast-math", "-c", "policy.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "compile this file without -ffast-math" in done.stderr


def test_the_header_says_what_the_guard_does(tmp_path: Path) -> None:
    """A policy without a guard has no such function."""
    text = (write(tmp_path, GUARD) / "policy.h").read_text()
    for words in (
        "RLWAY_OUT_OF_RANGE  hold",
        "int RLWAY_GUARD(const float *previous_action, double elapsed_s, float *action)",
    ):
        assert words in text
    manifest = make_manifest(noise=None)
    write_c(
        model([node("MatMul", "observation", "w")], {"w": np.ones((3, 4), np.float32)}, manifest), manifest, tmp_path
    )
    assert "GUARD" not in (tmp_path / "policy.h").read_text() + (tmp_path / "policy.c").read_text()


def test_limits_beyond_32_bits_are_refused() -> None:
    """An action in C has 32 bits at most."""
    spec = TensorSpec("action", (), "int64")
    guard = Guard(schema_version=1, actions={"action": ActionLimits(maximum=2**40, safe=0)})
    with pytest.raises(ExportRefused, match="the guard's limit 1099511627776 is beyond 32 bits"):
        CGuard(guard, [Parameter(spec, "action", "int32_t")]).function()
