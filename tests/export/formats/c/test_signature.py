"""The parameters of the C function: their names and types, the policy state between calls, and calls from C++."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import Draw
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.c_program import FLAGS
from rlway_export.formats.c.source import write_c
from tests.export.formats.c.c_policies import NEXT, answers, draw, make_manifest, model, node

CELLS = 5
STATE = [TensorSpec(name, (CELLS,), "float32") for name in ("state_h", "state_c")]


def header_of(folder: Path) -> str:
    return (folder / "policy.h").read_text()


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


def test_a_type_that_c_is_not_written_for_is_refused(tmp_path: Path) -> None:
    """The sentence names the tensor."""
    manifest = make_manifest(observation=[TensorSpec("far", (3,), "float16")])
    nodes = [node("Cast", "far", out="near", to=1), node("MatMul", "near", "w")]
    with pytest.raises(ExportRefused, match=r"C: far: expected one of bool, float32, .*got float16"):
        write_c(model(nodes, {"w": np.ones((3, 4), np.float32)}, manifest), manifest, tmp_path)


def test_numbers_of_64_bits_are_doubles(tmp_path: Path) -> None:
    """In the observation, the action and the state, none of which loses a bit."""
    state = [TensorSpec("sum", (3,), "float64")]
    far = [TensorSpec("far", (3,), "float64")]
    manifest = make_manifest(observation=far, noise=None, state=state, action=TensorSpec("action", (3,), "float64"))
    nodes = [
        node("Cast", "reset", out="unused", to=1),
        node("Add", "sum", "far", out=f"{NEXT}sum"),
        node("Sub", "sum", "third"),
    ]
    made = model(nodes, {"third": np.array(1 / 3)}, manifest)
    rows = {"far": np.array([[1e-12, 1e12, 1 / 7]]), "sum": np.array([[1.0, 2.0, 3.0]]), "reset": np.zeros(1, bool)}
    expected, found = answers(made, manifest, rows, tmp_path)
    for name in ("action", f"{NEXT}sum"):
        assert found[name].dtype == np.float64
        np.testing.assert_array_equal(found[name], expected[name])
    assert "void RLWAY_ACT(const double *far, double *sum, int reset, double *action)" in header_of(tmp_path)


def test_each_part_of_an_action_is_an_argument(tmp_path: Path) -> None:
    """The header says where it lies, what the noise holds, and what an optional input is without it."""
    parts = [TensorSpec(f"action_{key}", (2,), "float32", -1, 1, ("legs", key)) for key in ("left", "right")]
    gear = TensorSpec("action_gear", (), "int64", 3, 5, ("gear",))
    manifest = make_manifest(
        action=[gear, *parts],
        noise=TensorSpec("noise", (7,), "float32"),
        draws=[Draw("gumbel", 3), Draw("normal", 4)],
        time_step=[TensorSpec("discount", (), "float32"), TensorSpec("step_type", (), "int32")],
    )
    nodes = [
        helper.make_node("Split", ["noise", "sizes"], ["gumbel", "left", "right"], axis=1),
        node("Add", "observation", "gumbel", out="scores"),
        node("ArgMax", "scores", out="best", axis=1, keepdims=0),
        node("Add", "best", "three", out="action_gear"),
        node("Unsqueeze", "discount", "one", out="d"),
        node("Mul", "left", "d", out="action_left"),
        node("Cast", "step_type", out="s", to=1),
        node("Unsqueeze", "s", "one", out="k"),
        node("Add", "right", "k", out="action_right"),
    ]
    constants = {"sizes": np.array([3, 2, 2]), "three": np.array(3), "one": np.array([1])}
    made = model(nodes, constants, manifest)
    generator = np.random.default_rng(5)
    inputs = {spec.name: draw(spec, 40, generator) for spec in manifest.interface.inputs}
    expected, found = answers(made, manifest, inputs, tmp_path)
    assert set(expected["action_gear"]) == {3, 4, 5}
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    text = header_of(tmp_path)
    for words in (
        'action_gear  int32_t[1]   3 to 5, action["gear"]',
        'action_left  float[2]     -1 to 1, action["legs"]["left"]',
        "    3 Gumbel numbers, then\n *     4 standard normal numbers;",
        "discount     float[1]     unbounded; NULL is 1",
        "step_type    int32_t[1]   unbounded; NULL is 1",
        "const float *noise, const float *discount, const int32_t *step_type, int32_t *action_gear, float *action_left",
    ):
        assert words in text


def test_what_is_not_given_of_the_time_step_is_neutral(tmp_path: Path) -> None:
    """NULL is no reward, no end, and a step within an episode."""
    parts = [TensorSpec("reward", (), "float32"), TensorSpec("discount", (), "float32")]
    manifest = make_manifest(time_step=[*parts, TensorSpec("step_type", (), "int32")], noise=None)
    nodes = [
        node("Cast", "step_type", out="kind", to=1),
        *(node("Unsqueeze", name, "one", out=f"{name}_1") for name in ("reward", "discount", "kind")),
        node("Concat", "reward_1", "discount_1", "kind_1", "kind_1", axis=1),
    ]
    write_c(model(nodes, {"one": np.array([1])}, manifest), manifest, tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "policy.h"\n#include <stddef.h>\n#include <stdio.h>\n'
        "int main(void)\n{\n"
        "    const float observation[RLWAY_OBSERVATION_SIZE] = {0}, reward = 2.5f;\n"
        "    const int32_t step_type = 2;\n"
        "    float action[RLWAY_ACTION_SIZE];\n"
        "    rlway_act(observation, NULL, NULL, NULL, action);\n"
        '    printf("%g %g %g\\n", action[0], action[1], action[2]);\n'
        "    rlway_act(observation, &reward, NULL, &step_type, action);\n"
        '    printf("%g %g %g\\n", action[0], action[1], action[2]);\n'
        "    return 0;\n}\n"
    )
    sources = [tmp_path / "main.c", tmp_path / "policy.c"]
    subprocess.run(["cc", *FLAGS, "-o", tmp_path / "program", *sources, "-lm"], check=True)
    done = subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True)
    assert done.stdout == "0 1 1\n2.5 1 2\n"


def test_a_graph_of_one_row_is_written_too(tmp_path: Path) -> None:
    """Its batch is 1 wherever it says so."""
    manifest = make_manifest(noise=None)
    nodes = [node("MatMul", "observation", "w", out="x"), node("Reshape", "x", "row")]
    made = model(nodes, {"w": np.ones((3, 4), np.float32), "row": np.array([1, 4])}, manifest)
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    rows = {"observation": np.arange(6, dtype=np.float32).reshape(2, 3)}
    expected, found = answers(made, manifest, rows, tmp_path)
    np.testing.assert_array_equal(found["action"], expected["action"])


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
