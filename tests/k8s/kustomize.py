"""What `kubectl kustomize` makes of the folders under k8s/, for machines without kubectl.

In:      a folder with a kustomization.yaml that uses resources, patches, images and namespace, and nothing else.
Out:     its objects, as the API server would get them.
Refuses: an unknown field, an object that is there twice, a patch for an object that is not there.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

KNOWN_FIELDS = {"apiVersion", "kind", "namespace", "resources", "patches", "images"}
# The lists that the API server merges by a key; every other list is replaced.
MERGE_KEYS = {"containers": "name", "volumes": "name", "topologySpreadConstraints": "topologyKey"}


def read(path: Path) -> Manifest:
    """The one manifest that a file holds."""
    (manifest,) = yaml.safe_load_all(path.read_text())
    if not isinstance(manifest, dict):
        raise ValueError(f"{path}: expected one mapping")
    return manifest


def key(manifest: Manifest) -> str:
    """What kustomize knows an object by."""
    return f"{manifest['apiVersion']} {manifest['kind']} {manifest['metadata']['name']}"


def render(folder: Path) -> list[Manifest]:
    """The folder's objects, patched, in the order in which they are listed."""
    kustomization = read(folder / "kustomization.yaml")
    if unknown := set(kustomization) - KNOWN_FIELDS:
        raise ValueError(f"{folder}: expected fields {sorted(KNOWN_FIELDS)}, got also {sorted(unknown)}")
    objects: dict[str, Manifest] = {}
    for manifest in _resources(folder, kustomization["resources"]):
        if key(manifest) in objects:
            raise ValueError(f"{folder}: {key(manifest)} is there twice")
        objects[key(manifest)] = manifest
    for patch in kustomization.get("patches", []):
        change = read(folder / patch["path"])
        if key(change) not in objects:
            raise ValueError(f"{folder / patch['path']}: patches {key(change)}, which is not there")
        objects[key(change)] = merge(objects[key(change)], change)
    for manifest in objects.values():
        if "namespace" in kustomization:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
        if manifest["kind"] == "Deployment":
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                container["image"] = _renamed(container["image"], kustomization.get("images", []))
    return list(objects.values())


def merge(old: Any, new: Any, field: str = "") -> Any:
    """A strategic merge: mappings field by field, keyed lists item by item, anything else replaced."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: merge(old.get(name), value, name) for name, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list) and field in MERGE_KEYS:
        name = MERGE_KEYS[field]
        items = {item[name]: item for item in old}
        return list({**items, **{item[name]: merge(items.get(item[name]), item) for item in new}}.values())
    return copy.deepcopy(new)


def _resources(folder: Path, names: list[str]) -> list[Manifest]:
    paths = [folder / name for name in names]
    return [manifest for path in paths for manifest in (render(path) if path.is_dir() else [read(path)])]


def _renamed(image: str, rules: list[dict[str, str]]) -> str:
    name, tag = image.rsplit(":", 1)
    for rule in rules:
        if rule["name"] == name:
            return f"{rule.get('newName', name)}:{rule.get('newTag', tag)}"
    return image
