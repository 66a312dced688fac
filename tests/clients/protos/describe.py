"""Prints what protobuf stubs define, as JSON. Any environment's interpreter can run it: it imports nothing of RLway.

In:      the stubs' module names. BARE_PACKAGES in the environment, `NAME=FOLDER`: a package to import without its
         __init__.
Out:     each message, field, enum, enum value, service and method of their files, and of all that these import.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2


def describe(file: Any) -> Iterator[tuple[str, list[Any]]]:
    """Each definition of one file, and what must agree for two sides to understand each other."""
    for enum in file.enum_type:
        yield from _describe_enum(file.package, enum)
    for message in file.message_type:
        yield from _describe_message(file.package, message)
    for service in file.service:
        name = f"{file.package}.{service.name}"
        yield name, ["service"]
        for method in service.method:
            streams = [bool(method.client_streaming), bool(method.server_streaming)]
            yield f"{name}.{method.name}", ["method", method.input_type, method.output_type, *streams]


def _describe_message(scope: str, message: Any) -> Iterator[tuple[str, list[Any]]]:
    name = f"{scope}.{message.name}"
    yield name, ["map entry" if message.options.map_entry else "message"]
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        numbers = [field.number, field.type, field.label]
        yield f"{name}.{field.name}", ["field", *numbers, field.type_name, oneof, field.proto3_optional]
    for enum in message.enum_type:
        yield from _describe_enum(name, enum)
    for nested in message.nested_type:
        yield from _describe_message(name, nested)


def _describe_enum(scope: str, enum: Any) -> Iterator[tuple[str, list[Any]]]:
    name = f"{scope}.{enum.name}"
    yield name, ["enum"]
    for value in enum.value:
        yield f"{name}.{value.name}", ["value", value.number]


def reachable(files: list[Any]) -> dict[str, Any]:
    """These files and those that they import, by name, without protobuf's own."""
    found: dict[str, Any] = {}
    while files:
        file = files.pop()
        if file.name not in found and not file.name.startswith("google/protobuf/"):
            found[file.name] = file
            files += file.dependencies
    return found


def main() -> None:
    for word in filter(None, os.environ.get("BARE_PACKAGES", "").split(os.pathsep)):
        name, _, path = word.partition("=")
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [path]
    modules = [importlib.import_module(name) for name in sys.argv[1:]]
    described: dict[str, list[Any]] = {}
    for file in reachable([module.DESCRIPTOR for module in modules]).values():
        described.update(describe(descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)))
    json.dump(described, sys.stdout)


if __name__ == "__main__":
    main()
