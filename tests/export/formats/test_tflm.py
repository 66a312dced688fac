"""The policy as an array for TFLite Micro: the compiled bytes, and the operators that it needs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid, ExportRefused
from rlway_client.contract.model_files import SIGNATURE
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.runners import open_runner
from rlway_client.local.tflm_array import read_array
from rlway_export.formats.tflm import write_tflm
from tests.export.formats.c.c_policies import make_manifest

pytestmark = pytest.mark.slow

STRICT = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]


@pytest.mark.parametrize("name", ["policy_model", "policy_model_int8"])
def test_a_program_holds_the_bytes_that_were_compared(name: str, every_format: Bundle, tmp_path: Path) -> None:
    """Compiled by a strict compiler, aligned to 16 bytes, with a constant length; a TFLite model with `act`."""
    (tmp_path / "main.cc").write_text(
        f'#include "{name}.h"\n#include <cstdint>\n#include <cstdio>\n'
        f'static_assert({name}_size > 0, "known to the compiler");\n'
        f"int main()\n{{\n    if (reinterpret_cast<std::uintptr_t>({name}) % 16 != 0) {{\n        return 1;\n    }}\n"
        f"    return std::fwrite({name}, 1, {name}_size, stdout) == {name}_size ? 0 : 1;\n}}\n"
    )
    source = every_format.path / f"{name}.cc"
    include = ["-I", str(every_format.path)]
    subprocess.run(["c++", *STRICT, *include, "-o", tmp_path / "program", tmp_path / "main.cc", source], check=True)
    content = subprocess.run([tmp_path / "program"], check=True, capture_output=True).stdout
    assert content == read_array(source)
    assert tf.lite.Interpreter(model_content=content).get_signature_list()[SIGNATURE]["inputs"] == [
        "noise",
        "observation",
    ]


def test_the_header_names_the_operators(every_format: Bundle) -> None:
    """Each operator of the model once, and their number."""
    text = (every_format.path / "policy_model.h").read_text()
    methods = re.findall(r"resolver\.Add(\w+)\(\);", text)
    interpreter = tf.lite.Interpreter(model_content=read_array(every_format.path / "policy_model.cc"))
    kinds = {op["op_name"].replace("_", "") for op in interpreter._get_ops_details()} - {"DELEGATE"}
    assert {method.upper() for method in methods} == kinds
    assert f"MicroMutableOpResolver<{len(methods)}>" in text


def test_the_action_has_32_bits(every_format: Bundle) -> None:
    """As TFLite Micro's ARG_MAX gives it, and equal to the action of model.tflite."""
    plain, micro = (
        open_runner(every_format.path / file, every_format.manifest) for file in ("model.tflite", "policy_model.cc")
    )
    noise = np.array([[0.0, 1e30]], np.float32)
    for observation in np.random.default_rng(0).standard_normal((20, 1, 4)).astype(np.float32):
        answers = [runner.run({"observation": observation, "noise": 0 * noise}) for runner in (plain, micro)]
        np.testing.assert_array_equal(answers[0]["q_values"], answers[1]["q_values"])
        assert answers[0]["action"] == answers[1]["action"]
    assert micro.run({"observation": observation, "noise": noise})["action"].dtype == np.int32


def test_the_header_says_which_tensor_is_which(every_format: Bundle) -> None:
    """TFLite Micro knows inputs and outputs by their numbers only."""
    text = (every_format.path / "policy_model.h").read_text()
    details = tf.lite.Interpreter(model_content=read_array(every_format.path / "policy_model.cc"))
    names = {"input": ["noise", "observation"], "output": ["action", "q_values"]}
    for kind, known in names.items():
        runner = details.get_signature_runner(SIGNATURE)
        indices = {name: one["index"] for name, one in getattr(runner, f"get_{kind}_details")().items()}
        order = [one["index"] for one in getattr(details, f"get_{kind}_details")()]
        assert sorted(indices) == known
        for name in known:
            assert re.search(rf"\* +{kind}\({order.index(indices[name])}\) +{name}\n", text)


def test_the_header_says_where_in_the_action_a_tensor_lies(tmp_path: Path) -> None:
    """Of an action of several parts."""
    module = tf.Module()
    given = tf.TensorSpec([1, 4], tf.float32, "observation")
    module.act = tf.function(lambda observation: {"action_leg": 2 * observation}, input_signature=[given])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={SIGNATURE: module.act})
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), [SIGNATURE]).convert()
    legs = TensorSpec("action_leg", (4,), "float32", path=("legs", "left"))
    write_tflm(content, make_manifest(action=[legs]), "policy_model", tmp_path)
    assert 'output(0)  action_leg       action["legs"]["left"]' in (tmp_path / "policy_model.h").read_text()


def convert(act: Callable[[Any], Any], spec: Any) -> bytes:
    concrete = tf.function(act, input_signature=[spec]).get_concrete_function()
    content: bytes = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    return content


@pytest.mark.parametrize(
    ("act", "spec", "expected"),
    [
        (lambda x: tf.math.atan2(x, x), tf.TensorSpec([1, 4], tf.float32), "it has no kernel for ATAN2"),
        (lambda x: tf.cast(x, tf.float32) / 255, tf.TensorSpec([1, 4], tf.uint8), "its CAST takes no uint8"),
        (lambda x: x + x, tf.TensorSpec([1, 4], tf.int64), "of ADD, is of int64"),
    ],
    ids=["kernel", "pixels", "wide"],
)
def test_what_tflite_micro_cannot_run_is_refused(act: Any, spec: Any, expected: str, tmp_path: Path) -> None:
    """The operator is named, and nothing is written."""
    with pytest.raises(ExportRefused, match=f"TFLite Micro: .*{expected}"):
        write_tflm(convert(act, spec), make_manifest(), "policy_model", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_without_an_array_is_refused(tmp_path: Path) -> None:
    """Whatever else it is."""
    (tmp_path / "policy_model.cc").write_text("int main() { return 0; }\n")
    with pytest.raises(BundleInvalid, match=r"policy_model\.cc: expected one array of bytes"):
        open_runner(tmp_path / "policy_model.cc", make_manifest())
