"""A bundle's parity as a table for the terminal.

In:      a manifest.
Out:     a table of rich, one row for each exported file.
"""

from __future__ import annotations

from rich.table import Table

from rlway_client.contract.manifest import Manifest


def parity_table(manifest: Manifest) -> Table:
    """The exported files against the SavedModel, a row each."""
    table = Table("file", "rows", "max |Δ|", "mean |Δ|", "flips", "passed", box=None, header_style="bold")
    for parity in manifest.parity:
        table.add_row(
            parity.file,
            f"{parity.observations:,}",
            f"{parity.max_difference:.1e}",
            f"{parity.mean_difference:.1e}",
            str(parity.argmax_flips),
            "yes" if parity.passed else "NO",
        )
    return table
