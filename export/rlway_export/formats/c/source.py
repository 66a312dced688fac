"""The policy as C99 source, for machines that have a compiler and little else.

In:      the float32 ONNX model, the manifest; the guard, if there is one.
Out:     `policy.h` and `policy.c`: one function with constant weights, which needs only math.h; of a bundle with a
         guard, the guard as a second one.
Refuses: what network, signature and operators refuse (ExportRefused).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rlway_client.contract.guard import Guard
from rlway_client.contract.interface import NEUTRAL
from rlway_client.contract.manifest import Manifest
from rlway_export.formats.c.body import Body
from rlway_export.formats.c.comments import comment
from rlway_export.formats.c.constants import declaration
from rlway_export.formats.c.guard import CGuard
from rlway_export.formats.c.header import header
from rlway_export.formats.c.network import read_network
from rlway_export.formats.c.operators import write_operation
from rlway_export.formats.c.signature import C_TYPES, NEXT, RESET, CSignature, Parameter
from rlway_export.formats.c.views import View, loop, nested_loops

HEADER, SOURCE = "policy.h", "policy.c"
STACK_BYTES = 4096  # more than that becomes static: a microcontroller's stack has a few thousand bytes
BEGINS = "begins"  # `reset`, as the model takes it


def write_c(model: Any, manifest: Manifest, folder: Path, guard: Guard | None = None) -> None:
    """Writes both files."""
    signature = CSignature.of(manifest)
    guarded = None if guard is None else CGuard(guard, signature.outputs[: len(manifest.actions)])
    names = {parameter.spec.name: parameter.name for parameter in signature.tensors}
    names |= {RESET: BEGINS} if signature.state else {}
    body = Body(read_network(model), names)
    for operation in body.network.operations:
        write_operation(operation, body)
    answers = _answers(signature, body)
    (folder / HEADER).write_text(header(manifest, signature, _memory(body), guarded))
    further = "" if guarded is None else f"\n{guarded.function()}"
    (folder / SOURCE).write_text(_source(manifest, signature, body, answers) + further)


def _memory(body: Body) -> str:
    size = body.memory_bytes
    if size > STACK_BYTES:
        return (
            f"A call allocates nothing, keeps nothing for the next one, and works in {size} bytes of static memory:\n"
            f"calls from several threads must take turns."
        )
    return (
        f"A call allocates nothing, keeps nothing for the next one, may run in several threads at once, and takes\n"
        f"about {size} bytes of stack besides what its calls to math.h take."
    )


def _source(manifest: Manifest, signature: CSignature, body: Body, answers: list[str]) -> str:
    arrays = [f"{kind} {name}[{size}];" for name, (kind, size) in body.arrays.items()]
    is_static = body.memory_bytes > STACK_BYTES
    parts = [
        f"/* {comment(manifest.policy)}, version {manifest.version}: see {HEADER}. Written by RLway. */\n"
        f'#include "{HEADER}"\n\n#include <math.h>\n#include <stddef.h>\n'
    ]
    for name, value in body.used_constants(answers).items():
        parts.append(declaration(C_TYPES[str(value.dtype)], name, value))
    if is_static:
        parts.append("".join(f"static {array}\n" for array in arrays))
    lines = [*([] if is_static else arrays), *_defaults(signature), *body.lines, *answers]
    words = set(re.findall(r"\w+", "\n".join(lines)))
    if BEGINS in words:
        lines.insert(0, f"const uint8_t {BEGINS}[1] = {{{RESET} != 0}};")
    lines = [*(f"(void){given.name};" for given in signature.inputs if given.name not in words), *lines]
    parts.append(f"{signature.prototype()}\n{{\n" + "".join(f"    {line}\n" for line in lines) + "}\n")
    return "\n".join(parts)


def _defaults(signature: CSignature) -> list[str]:
    """What an optional input is where it is not given, and zeros for the policy state where an episode begins."""
    lines = []
    for given in signature.optional:
        usual, value = f"neutral_{given.spec.name}", NEUTRAL.get(given.spec.name, 0)
        lines += [f"static const {given.kind} {usual}[{given.macro}] = {{{value:g}}};"]
        lines += [f"if ({given.name} == NULL) {{", f"    {given.name} = {usual};", "}"]
    if signature.state:
        lines += [f"if ({RESET} != 0) {{"]
        for state in signature.state:
            lines += [f"    {line}" for line in loop("i", state.spec.size, [f"{state.name}[i] = 0;"])]
        lines += ["}"]
    return lines


def _answers(signature: CSignature, body: Body) -> list[str]:
    """Copies the wanted outputs, and then the state, because an output may be the state of the step before."""
    states = {state.name: state.spec.name for state in signature.state}
    after = {state.name: body.view(NEXT + state.spec.name) for state in signature.state}
    for name, view in after.items():
        if view.array in states.keys() - {name}:  # otherwise it would be overwritten before it is copied
            after[name] = body.copy(view, body.scratch(body.type_of(NEXT + states[name]), view.shape))
    lines = []
    for output in signature.outputs:
        lines += [f"if ({output.name} != NULL) {{"]
        lines += [f"    {line}" for line in _copy(body.view(output.spec.name), output)]
        lines += ["}"]
    for state in signature.state:
        lines += _copy(after[state.name], state)
    return lines


def _copy(view: View, parameter: Parameter) -> list[str]:
    target = View.whole(parameter.name, view.shape)
    return nested_loops([target, view], lambda at: [f"{target.array}[{at[0]}] = {view.array}[{at[1]}];"])
