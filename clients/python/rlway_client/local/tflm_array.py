"""Reads the TFLite model inside C++ source, as `rlway export --formats tflm` writes it.

In:      a `.cc` file with one array of bytes.
Out:     the bytes.
Refuses: a file without such an array (BundleInvalid).
"""

from __future__ import annotations

import re
from pathlib import Path

from rlway_client.contract.errors import BundleInvalid

ARRAY = re.compile(r"alignas\(16\) const unsigned char \w+\[\] = \{([^}]*)\};")


def read_array(path: Path) -> bytes:
    """The bytes that the compiled array holds. Raises BundleInvalid."""
    try:
        (numbers,) = ARRAY.findall(path.read_text())
        return bytes(int(number, 16) for number in numbers.split(",") if number.strip())
    except (OSError, ValueError) as error:
        raise BundleInvalid(f"{path}: expected one array of bytes: {error}.") from None
