"""The parameters of the C function: their names and types, the policy state between calls, and calls from C++."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.c_program import FLAGS
from rlway_export.formats.c.source import write_c
from tests.export.formats.c.c_policies import NEXT, answers, draw, make_manifest, model, node

CELLS = 5
STATE = [TensorSpec(name, (CELLS,), "float32") for name in ("state_h", "state_c")]


def test_states_may_swap(tmp_path: Path) -> None:
    """The new state_h is the old state_c and the other way round; an output shows the previous state."""
    manifest = make_manifest(noise=None, state=STATE, outputs=[TensorSpec("before", (CELLS,), "float32")])
    nodes = [
        node("Cast", "reset", out="unused", to=1),
        node("Identity", "state_h", out=f"{NEXT}state_c"),
        node("Identity", "state_c", out=f"{NEXT}state_h"),
        node("Identity", "state_h", out="before"),
        node("MatMul", "observation", "w"),
    ]
    made = model(nodes, {"w": np.ones((3, 4), np.float32)}, manifest)
    generator = np.random.default_rng(10)
    inputs = {spec.name: draw(spec, 3, generator) for spec in (*manifest.observation, *STATE)}
    expected, found = answers(made, manifest, inputs | {"reset": np.zeros(3, bool)}, tmp_path)
    for name in ("before", f"{NEXT}state_h", f"{NEXT}state_c"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_each_observation_of_a_dict_is_an_argument(tmp_path: Path) -> None:
    """Names that C reserves, or that differ only in case, are changed; types are the manifest's."""
    specs = [
        TensorSpec("double", (3,), "float32"),
        TensorSpec("Camera", (2,), "uint8"),
        TensorSpec("camera", (2,), "float32"),
        TensorSpec("2.gear", (), "int64"),
        TensorSpec("reset", (1,), "bool"),
        TensorSpec("i", (1,), "float32"),
    ]
    manifest = make_manifest(observation=specs, noise=None)
    nodes = [
        node("Cast", "Camera", out="c1", to=1),
        node("Cast", "2.gear", out="gear", to=1),
        node("Unsqueeze", "gear", "one", out="c2"),
        node("Cast", "reset", out="c3", to=1),
        node("Concat", "double", "c1", "camera", "c2", "c3", out="all", axis=1),
        node("MatMul", "all", "w"),
    ]
    weights = np.random.default_rng(11).standard_normal((9, 4)).astype(np.float32)
    made = model(nodes, {"w": weights, "one": np.array([1])}, manifest)
    generator = np.random.default_rng(12)
    expected, found = answers(made, manifest, {spec.name: draw(spec, 50, generator) for spec in specs}, tmp_path)
    np.testing.assert_allclose(found["action"], expected["action"], rtol=2e-5, atol=2e-3)
    assert (
        "void RLWAY_ACT(const float *double_, const uint8_t *Camera, const float *camera_, const int32_t *of_2_gear, "
        "const uint8_t *reset_, const float *i_, float *action);"
    ) in (tmp_path / "policy.h").read_text()


def test_a_number_of_64_bits_is_refused(tmp_path: Path) -> None:
    """The sentence names the tensor."""
    manifest = make_manifest(observation=[TensorSpec("far", (3,), "float64")])
    nodes = [node("Cast", "far", out="near", to=1), node("MatMul", "near", "w")]
    with pytest.raises(ExportRefused, match=r"C: far: expected one of bool, float32, .*got float64"):
        write_c(model(nodes, {"w": np.ones((3, 4), np.float32)}, manifest), manifest, tmp_path)


def test_a_cpp_program_keeps_the_state(tmp_path: Path) -> None:
    """The header compiles as C++, and a state that sums its observations starts again at a reset."""
    manifest = make_manifest(
        noise=None, state=[TensorSpec("sum", (3,), "float32")], action=TensorSpec("action", (3,), "float32")
    )
    nodes = [
        node("Not", "reset", out="goes_on"),
        node("Cast", "goes_on", out="factor", to=1),
        node("Unsqueeze", "factor", "one", out="column"),
        node("Mul", "sum", "column", out="before"),
        node("Add", "before", "observation", out=f"{NEXT}sum"),
        node("Neg", f"{NEXT}sum"),
    ]
    write_c(model(nodes, {"one": np.array([1])}, manifest), manifest, tmp_path)
    (tmp_path / "main.cc").write_text(
        '#include "policy.h"\n#include <cstdio>\n'
        "int main()\n{\n"
        "    const float observation[RLWAY_OBSERVATION_SIZE] = {1, 2, 3};\n"
        "    float sum[RLWAY_SUM_SIZE], action[RLWAY_ACTION_SIZE];\n"
        "    for (int step = 0; step < 5; step++) {\n"
        "        rlway_act(observation, sum, step == 0 || step == 3, action);\n"
        '        std::printf("%g ", static_cast<double>(action[2]));\n'
        "    }\n    return 0;\n}\n"
    )
    subprocess.run(["cc", *FLAGS, "-c", "-o", tmp_path / "policy.o", tmp_path / "policy.c"], check=True)
    strict = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(
        ["c++", *strict, "-o", tmp_path / "program", tmp_path / "main.cc", tmp_path / "policy.o", "-lm"], check=True
    )
    done = subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["-3", "-6", "-9", "-3", "-6"]
