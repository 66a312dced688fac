"""The policy as C99 source, for what has a compiler and little else.

In:      the float32 ONNX model, the manifest.
Out:     `policy.h` and `policy.c`: one function, its weights constants, nothing needed but math.h.
Refuses: inputs that are not float32, and what network and c_operators refuse (ExportRefused).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from rlway_client.errors import ExportRefused
from rlway_client.manifest import Manifest
from rlway_client.specs import AnyArray, TensorSpec
from rlway_export.c_header import c_name, comment, header, signature
from rlway_export.c_operators import ALIASES, BINARY, UNARY, Scope, number, write_operation
from rlway_export.network import Network, Operation, read_network

HEADER, SOURCE = "policy.h", "policy.c"
A_LINE = 100  # characters of numbers

DENSE = """\
/* y = x * weights + bias; a row of weights belongs to an input. */
static void dense(const float *x, int inputs, const float *weights, const float *bias, int outputs, float *y)
{
    int i, j;
    for (j = 0; j < outputs; j++) {
        y[j] = 0.0f;
    }
    for (i = 0; i < inputs; i++) {
        for (j = 0; j < outputs; j++) {
            y[j] += x[i] * weights[i * outputs + j];
        }
    }
    if (bias != NULL) {
        for (j = 0; j < outputs; j++) {
            y[j] += bias[j];
        }
    }
}
"""


def write_c(model: Any, manifest: Manifest, folder: Path) -> None:
    """Writes both files."""
    inputs = [*manifest.observation, *([manifest.noise] if manifest.noise else [])]
    for spec in inputs:
        if spec.dtype != "float32":
            raise ExportRefused(f"C: input {spec.name}: expected float32, got {spec.dtype}; leave c out of --formats.")
    program = _Program(read_network(model), {spec.name: c_name(spec) for spec in inputs})
    (folder / HEADER).write_text(header(manifest, program.stack_bytes))
    (folder / SOURCE).write_text(_source(manifest, program))


class _Program:
    """The body of the function, and the names that it gives to values."""

    def __init__(self, network: Network, parameters: dict[str, str]) -> None:
        self.network = network
        self._names = dict(parameters)  # of values, in C
        self._taken = set(parameters.values())  # arrays that are not ours to write to
        self._unread: Counter[str] = Counter()  # how often each array will still be read
        self.arrays: dict[str, int] = {}  # sizes of the arrays on the stack
        self.indices: set[str] = set()  # those of them that hold whole numbers
        for name, value in network.constants.items():
            kind = {0: "scalar", 1: "row", 2: "weights"}.get(value.ndim, "array")
            self._names[name] = f"{kind}_{sum(known.startswith(kind) for known in self._names.values())}"
            self._taken.add(self._names[name])
        self._unread.update({self._names[name]: network.uses[name] for name in self._names})
        self.lines: list[str] = []
        for operation in network.operations:
            self._write(operation)

    @property
    def stack_bytes(self) -> int:
        """What the arrays take."""
        return 4 * sum(self.arrays.values())

    def array(self, name: str) -> str:
        """A value's name in C."""
        return self._names[name]

    def used_constants(self) -> dict[str, AnyArray]:
        """By their names in C: a bound of Clip is written where it is used."""
        text = set(re.findall(r"\w+", "\n".join(self.lines)))
        named = {self._names[name]: value for name, value in self.network.constants.items()}
        return {name: value for name, value in named.items() if name in text}

    def _write(self, operation: Operation) -> None:
        read = [self._names[name] for name in operation.inputs if name]
        self._unread.subtract(read)
        if _keeps_numbers(operation, self.network):
            self._give(operation.outputs[0], read[0])
            return
        for i, out in enumerate(operation.outputs):
            source = operation.inputs[0]
            elementwise = operation.kind in UNARY or operation.kind in BINARY or operation.kind == "Clip"
            same = i == 0 and elementwise and self.network.size(source) == self.network.size(out)
            # Written over what it was made from, if nobody reads that any more: a layer takes one array, not three.
            if same and read[0] not in self._taken and not self._unread[read[0]]:
                self._give(out, read[0])
            else:
                array = f"value_{len(self.arrays)}"
                self.arrays[array] = self.network.size(out)
                if self.network.dtypes[out].startswith("int"):
                    self.indices.add(array)
                self._give(out, array)
        self.lines += write_operation(operation, Scope(self.network, self.array))

    def _give(self, name: str, array: str) -> None:
        self._names[name] = array
        self._unread[array] += self.network.uses[name]


def _keeps_numbers(operation: Operation, network: Network) -> bool:
    """Whether the output is the input under another name or shape."""
    if operation.kind != "Cast":
        return operation.kind in ALIASES
    kinds = {network.dtypes[name].rstrip("0123456789") for name in (operation.inputs[0], operation.outputs[0])}
    return len(kinds) == 1


def _source(manifest: Manifest, program: _Program) -> str:
    outputs = [manifest.action, *manifest.outputs]
    parts = [
        f"/* {comment(manifest.policy)}, version {manifest.version}: see {HEADER}. Written by RLway. */\n"
        f'#include "{HEADER}"\n\n#include <math.h>\n#include <stddef.h>\n'
    ]
    parts += [_constant(name, value) for name, value in program.used_constants().items()]
    if any(line.startswith("dense(") for line in program.lines):
        parts.append(DENSE)
    body = [f"{'int32_t' if name in program.indices else 'float'} {name}[{n}];" for name, n in program.arrays.items()]
    body.append("int i;")
    if manifest.noise is not None:
        body.insert(0, f"static const float zeros[{manifest.noise.size}] = {{0.0f}};")
        body += ["if (noise == NULL) {", f"    {c_name(manifest.noise)} = zeros;", "}"]
    body += "\n".join(program.lines).splitlines()
    for spec in outputs:
        body += _answer(spec, program)
    parts.append(f"{signature(manifest)}\n{{\n" + "".join(f"    {line}\n" for line in body) + "}\n")
    return "\n".join(parts)


def _answer(spec: TensorSpec, program: _Program) -> list[str]:
    name, array = c_name(spec), program.array(spec.name)
    return [
        f"if ({name} != NULL) {{",
        f"    for (i = 0; i < {spec.size}; i++) {{",
        f"        {name}[i] = {array}[i];",
        "    }",
        "}",
    ]


def _constant(name: str, value: AnyArray) -> str:
    """An array of constants, its numbers in lines of a readable length."""
    lines, line = [], "   "
    for text in map(number, value.ravel()):
        if len(line) + len(text) + 2 > A_LINE:
            lines.append(line)
            line = "   "
        line += f" {text},"
    shape = f"/* {list(value.shape)} */\n" if value.ndim else ""
    return f"{shape}static const float {name}[{max(1, value.size)}] = {{\n" + "\n".join([*lines, line]) + "\n};\n"
