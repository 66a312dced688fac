"""Policies and their versions under the names that the protocol gives them: models, and versions as text.

In:      a model's name, and a version as a URL or a message has it.
Out:     the policy; the loaded version that is asked about; the number of a version.
Refuses: unknown models and versions (NotFound), a model of which no version is loaded (NotReady).
"""

from __future__ import annotations

from rlway_serve.messages.request import Pin, read_version
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.repository import Repository


def version_number(version: str, model: str) -> int | None:
    """The number; None for an empty text, which stands for the active version. Raises NotFound."""
    return read_version(version, model) if version else None


def find_version(repository: Repository, model: str, version: str) -> LoadedVersion:
    """The loaded version that is asked about. Raises NotFound, NotReady."""
    policy = repository[model]
    return policy.choose(Pin(version=version_number(version, policy.name)))
