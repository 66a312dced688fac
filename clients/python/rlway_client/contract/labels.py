"""The labels of a policy's versions: `models/<policy>/labels.json`.

In:      the file, such as {"stable": 3, "canary": 4}.
Out:     version numbers by label; empty where there is no file.
Refuses: nothing. What is wrong with a faulty file is a sentence beside None, as only its own policy has to know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from rlway_client.contract.manifest import POLICY_NAME

LABELS_FILE = "labels.json"
MAX_LABELS_BYTES = 64 * 1024  # some thousands of labels
STABLE = "stable"  # the label of the active version

LabelMap = dict[Annotated[str, Meta(pattern=rf"^{POLICY_NAME.pattern}$")], Annotated[int, Meta(ge=1)]]


def read_labels(path: Path) -> tuple[dict[str, int] | None, str]:
    """The labels in a file; or None and what is wrong with it."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
        return None, f"{path.name}: is not a file."
    try:
        with path.open("rb") as file:
            return decode_labels(file.read(MAX_LABELS_BYTES + 1))
    except FileNotFoundError:
        return {}, ""


def decode_labels(content: bytes) -> tuple[dict[str, int] | None, str]:
    """The labels in a file's bytes; or None and what is wrong with them."""
    if len(content) > MAX_LABELS_BYTES:
        return None, f"{LABELS_FILE}: expected at most {MAX_LABELS_BYTES} bytes."
    try:
        return msgspec.json.decode(content, type=LabelMap), ""
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return None, f'{LABELS_FILE}: expected version numbers by label, such as {{"stable": 3}}: {error}.'
