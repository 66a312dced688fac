"""Draws latency distributions as HdrHistogram does: the tail is as wide as the rest.

In:      histograms by label.
Out:     a PNG.
Refuses: to draw without matplotlib (UsageError); a file that cannot be written (UsageError).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from rlway_client.common.files import write_atomically
from rlway_client.common.histogram import Histogram
from rlway_client.common.packages import SERVING, missing
from rlway_client.contract.errors import UsageError

SIZE_INCHES, DPI = (9, 5), 120


def check_png(path: Path) -> None:
    """Raises UsageError, before anything is measured, if no chart can be written there."""
    if find_spec("matplotlib") is None:
        raise UsageError(missing("--png", "matplotlib", "rlway-client[bench]", SERVING))
    if not path.parent.is_dir():
        raise UsageError(f"--png {path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise UsageError(f"--png {path}: expected a file, got a folder.")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--png {path}: expected a name that ends with .png, since that is what it becomes.")


def draw(
    path: Path,
    title: str,
    histograms: Mapping[str, Histogram],
    limit_ms: float | None = None,
    what: str = "requests",
) -> None:
    """One curve for each histogram: the latency that one request in N, or another thing, reaches or exceeds."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    most = 10.0
    colors = colormaps["viridis"].resampled(len(histograms) + 1)  # without the lightest
    for place, (label, histogram) in enumerate(histograms.items()):
        points = histogram.points()
        if points:
            axes.step(
                [point.one_in for point in points],
                [point.latency_ms for point in points],
                color=colors(place),
                label=label,
            )
            most = max(most, points[-1].one_in)
    if limit_ms is not None:
        axes.axhline(limit_ms, linestyle="--", color="0.5", label=f"limit of p99, {limit_ms:g} ms")
    axes.set_xscale("log")
    axes.set_xlim(1, most)
    ticks = [10**i for i in range(20) if 10**i <= most]
    axes.set_xticks(ticks, [f"1 in {tick:,}\n{_percent(tick)}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"share of {what} that take this long or longer, and percentile")
    axes.set_ylabel("latency, ms" if what == "requests" else "time, ms")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UsageError(f"--png {path}: {error.strerror or error}.") from None


def _percent(one_in: int) -> str:
    return "all" if one_in == 1 else f"{100 - 100 / one_in:.10g} %"
