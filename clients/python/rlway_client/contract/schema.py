"""The manifest's JSON Schema, for those who read bundles without RLway.

Out:     docs/manifest.schema.json, by `python -m rlway_client.contract.schema > docs/manifest.schema.json`.
"""

from __future__ import annotations

import msgspec

from rlway_client.contract.manifest import Manifest


def encode_schema() -> bytes:
    """The schema as indented JSON, generated from the Struct that reads and writes manifests."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(Manifest)
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


if __name__ == "__main__":
    print(encode_schema().decode(), end="")
