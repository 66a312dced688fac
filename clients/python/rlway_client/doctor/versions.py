"""Which packages are installed, and whether they fit together.

In:      the metadata of this environment's packages; nothing is imported.
Out:     findings about RLway's packages, Python, and the libraries that RLway relies on.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires, version

from rlway_client.common.installations import PACKAGES, other_installations, this_installation
from rlway_client.common.quote import named
from rlway_client.doctor.finding import Finding

LIBRARIES = ("numpy", "gymnasium")
TRAINERS = ("tensorflow", "tf-agents")
SHORT = {name: name.removeprefix("rlway-") for name in PACKAGES}


def rlway_packages() -> Iterator[Finding]:
    """RLway's packages here, whether they have one version and all that they need, and those of environments beside."""
    here = this_installation().packages
    facts = {"packages": here, "command": str(this_installation().command)}
    together = ", ".join(f"{SHORT[name]} {number}" for name, number in here.items())
    remedy = ""
    if len(set(here.values())) > 1:
        remedy = f"bring them to one version: pip install --upgrade {' '.join(here)}"
    yield Finding("versions", "rlway", together or "runs from a folder, and is not installed", remedy, facts)
    for name in here:
        unmet = unmet_requirements(name)
        if unmet:
            wanted = " ".join(f"'{one}'" for one in unmet)
            state = f"needs {named(unmet)}, which is not what is installed here"
            yield Finding("versions", name, state, f"pip install {wanted}", {"unmet": unmet})
    for other in other_installations():
        found = ", ".join(f"{SHORT[name]} {number}" for name, number in other.packages.items())
        facts = {"packages": other.packages, "command": str(other.command)}
        yield Finding("versions", "also", f"{found} in {other.command.parents[1]}", facts=facts)


def python() -> Finding:
    """The interpreter, and its environment."""
    facts = {"version": platform.python_version(), "prefix": sys.prefix, "executable": sys.executable}
    return Finding("versions", "Python", f"{platform.python_version()} in {sys.prefix}", facts=facts)


def libraries() -> Finding:
    """Those that every environment may have."""
    return _versions("libraries", LIBRARIES, "not installed")


def trainers() -> Finding:
    """Those that train and export; a server has no use for them."""
    return _versions("training", TRAINERS, "not installed; only training and exporting need it")


def installed(name: str) -> str | None:
    """The version of a package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def unmet_requirements(package: str) -> list[str]:
    """What a package requires and this environment has not, or not in that version."""
    return [text for text in map(_without_comment, requires(package) or []) if not _is_met(text)]


def _is_met(text: str) -> bool:
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:  # without it versions cannot be compared, but a package may still be missing
        name, _, marker = text.partition(";")
        return bool(marker) or _is_installed(re.split(r"[\s\[<>=!~(]", name.strip())[0])
    required = Requirement(text)
    if required.marker is not None and not required.marker.evaluate({"extra": ""}):
        return True
    found = installed(required.name)
    return found is not None and required.specifier.contains(found, prereleases=True)


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _without_comment(text: str) -> str:
    return text.partition(" #")[0].strip()


def _versions(subject: str, names: tuple[str, ...], without: str) -> Finding:
    versions = {name: installed(name) for name in names}
    has = [f"{name} {number}" for name, number in versions.items() if number]
    has_not = [name for name, number in versions.items() if not number]
    state = ", ".join([*has, *([f"{' and '.join(has_not)} {without}"] if has_not else [])])
    return Finding("versions", subject, state, facts={"packages": versions})
