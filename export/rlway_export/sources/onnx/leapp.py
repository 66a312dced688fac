"""A bundle of LEAPP as a source: ONNX files, and a YAML file that says how they are wired.

In:      the folder, or its YAML file.
Out:     one model of all of its parts, the roles of its tensors.
Refuses: parts that are not ONNX, files that are missing, changed or outside of the folder, wiring that does not fit
         (RunInvalid).

    models               the parts, in the order in which they run
    pipeline.data_flow   an output of one part → inputs of others
    feedback_flow        an output → inputs of the next step: the policy state, which begins with `initial_values`
    inputs, outputs      what the pipeline observes, and what it gives: the action
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rlway_client.common.files import sha256
from rlway_client.common.quote import reason, short_name
from rlway_client.contract.errors import RunInvalid
from rlway_client.contract.parity import Arrays
from rlway_export.reference.roles import ActionPart, Roles, StatePart
from rlway_export.sources.onnx.block_yaml import MOST_BYTES, read_yaml
from rlway_export.sources.onnx.external import local_file
from rlway_export.sources.onnx.file import OnnxFile, described, opset_of, read_onnx
from rlway_export.sources.onnx.safetensors import read_safetensors

SECTIONS = ("models", "pipeline")


class LeappBundle(NamedTuple):
    """One pipeline."""

    file: OnnxFile
    roles: Roles


def leapp_file(path: Path) -> Path | None:
    """The YAML file of a bundle, if the path is one."""
    candidates = [path] if path.suffix in (".yaml", ".yml") else sorted(path.glob("*.yaml")) if path.is_dir() else []
    return next((one for one in candidates if one.is_file() and _is_pipeline(one)), None)


def leapp_parts(path: Path) -> tuple[list[Path], list[Path]]:
    """The models that the YAML file names, and its initial values, there or not. Raises as reading does."""
    document = _mapping(read_yaml(path.read_text(encoding="utf-8")))
    models, pipeline = (_mapping(document.get(section)) for section in SECTIONS)
    parameters = (_mapping(_mapping(facts).get("parameters")) for facts in models.values())
    locations = [str(one.get("model_path")) for one in parameters]
    values = [] if pipeline.get("initial_values") is None else [str(pipeline["initial_values"])]
    found = [[local_file(one, path, str(path)) for one in some] for some in (locations, values)]
    return found[0], found[1]


def read_leapp(path: Path) -> LeappBundle:
    """`path` is the YAML file."""
    try:
        document = read_yaml(path.read_text(encoding="utf-8"))
        models, pipeline = (_mapping(document.get(section)) for section in SECTIONS)
        parts = {name: _part(path, name, _mapping(facts)) for name, facts in models.items()}
        flow = dict(_edges(pipeline.get("data_flow")))
        feedback = dict(_edges(pipeline.get("feedback_flow")))
        observed, given = ([*_ports(pipeline.get(side))] for side in ("inputs", "outputs"))
    except (ValueError, AttributeError, UnicodeDecodeError) as error:
        raise RunInvalid(f"{path}: is no pipeline of LEAPP that can be read: {reason(error)}.") from None
    if not parts or not observed or not given:
        raise RunInvalid(f"{path}: has no models, inputs or outputs, so it is no policy; export it with LEAPP again.")
    is_one = len(parts) == 1
    model = _joined(path, parts, flow, [*given, *feedback.values()])
    named = {
        port: port.partition("/")[2] if is_one else port for port in (*observed, *given, *feedback, *feedback.values())
    }
    initial = _initial(path, pipeline.get("initial_values"))
    file = described(path, model)
    state = [StatePart(named[taken], named[made], initial.get(taken)) for taken, made in feedback.items()]
    roles = Roles([named[port] for port in observed], [ActionPart(named[port], "action") for port in given], state, {})
    _check(file, roles)
    return LeappBundle(file, roles)


def _is_pipeline(path: Path) -> bool:
    if path.stat().st_size > MOST_BYTES:
        return False
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return all(any(line.startswith(f"{section}:") for line in lines) for section in SECTIONS)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping of names")
    return value


def _part(path: Path, name: str, facts: Mapping[str, Any]) -> Any:
    """The checked model of one part."""
    parameters = _mapping(facts.get("parameters"))
    backend, location = str(parameters.get("backend")), str(parameters.get("model_path"))
    if not backend.startswith("onnx") and not location.endswith(".onnx"):
        raise RunInvalid(
            f"{path}: its part {short_name(name)} is of the backend {backend[:20]}; export all parts with "
            f'export_with="onnx".'
        )
    file = local_file(location, path, f"{path}: the weights and operators of {short_name(name)}")
    if not file.is_file():
        raise RunInvalid(f"{path}: its file {short_name(location)} is missing; copy the whole bundle.")
    known = parameters.get("sha256sum")
    if isinstance(known, str) and len(known) == 64 and sha256(file) != known.lower():
        raise RunInvalid(f"{path}: {short_name(location)} has changed since LEAPP wrote it; copy or export it again.")
    return read_onnx(file).model


def _edges(flow: Any) -> Iterator[tuple[str, str]]:
    """Each input with the output that it gets."""
    for made, takers in _mapping(flow or {}).items():
        for taken in takers if isinstance(takers, list) else [takers]:
            yield str(taken), str(made)


def _ports(ports: Any) -> Iterator[str]:
    for node, names in _mapping(ports or {}).items():
        yield from (f"{node}/{name}" for name in (names if isinstance(names, list) else [names]))


def _joined(path: Path, parts: dict[str, Any], flow: dict[str, str], wanted: list[str]) -> Any:
    """One graph of all parts, in their order; the names of a part begin with its own where there are several."""
    import onnx
    import onnx.compose

    if len(parts) == 1:
        return next(iter(parts.values()))
    opsets = {opset_of(model) for model in parts.values()}
    if len(opsets) > 1:
        raise RunInvalid(f"{path}: its parts are of different opsets, {sorted(opsets)}; export them with one.")
    joined: Any = None
    for name, model in parts.items():
        prefixed = onnx.compose.add_prefix(model, f"{name}/")
        made = {output.name for output in joined.graph.output} if joined is not None else set[str]()
        for value in [value for value in prefixed.graph.input if value.name in flow]:
            source = flow[value.name]
            if joined is None or source not in made:
                raise RunInvalid(
                    f"{path}: {short_name(value.name)} takes {short_name(source)}, which is not made before."
                )
            joined.graph.node.append(onnx.helper.make_node("Identity", [source], [value.name]))
            prefixed.graph.input.remove(value)
        if joined is None:
            joined = prefixed
            continue
        for field in ("node", "initializer", "sparse_initializer", "input", "output"):
            getattr(joined.graph, field).extend(getattr(prefixed.graph, field))
        joined.ir_version = max(joined.ir_version, prefixed.ir_version)
    outputs = {output.name: output for output in joined.graph.output}
    missing = next((port for port in wanted if port not in outputs), None)
    if missing is not None:
        raise RunInvalid(f"{path}: names the output {short_name(missing)}, which no part gives.")
    del joined.graph.output[:]
    joined.graph.output.extend(outputs[port] for port in dict.fromkeys(wanted))
    return joined


def _initial(path: Path, location: Any) -> Arrays:
    """The state at the beginning, by the inputs that take it."""
    if location is None:
        return {}
    file = local_file(str(location), path, f"{path}: the initial values")
    try:
        return read_safetensors(file)
    except (OSError, ValueError) as error:
        raise RunInvalid(f"{path}: {short_name(str(location))} cannot be read: {reason(error)}.") from None


def _check(file: OnnxFile, roles: Roles) -> None:
    """Raises RunInvalid unless the wiring names what the models have, and every input gets a value."""
    inputs, outputs = ({one.name for one in side} for side in (file.inputs, file.outputs))
    held = [*roles.observation, *(part.taken for part in roles.state)]
    for name, known in (*((name, inputs) for name in held), *((name, outputs) for name in roles.outputs)):
        if name not in known:
            raise RunInvalid(f"{file.path}: names {short_name(name)}, which its models do not have; {file.signature}.")
    unfed = next((name for name in sorted(inputs) if name not in held), None)
    if unfed is not None:
        raise RunInvalid(
            f"{file.path}: nothing gives its input {short_name(unfed)} a value; export it with LEAPP again."
        )
