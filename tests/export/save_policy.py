"""Saves one of TF-Agents' policies, as anybody's program does: python -m tests.export.save_policy KIND WHICH FOLDER.

In:      a kind of stock.py; `policy` or `collect_policy`; where to.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rlway_export.common.quiet import quiet_conversion

with quiet_conversion():
    from tests.export import stock


def main(kind: str, which: str, folder: str) -> None:
    with quiet_conversion():
        stock.save(getattr(stock.agent(kind), which), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
