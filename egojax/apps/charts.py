"""The charts of the report: identity survival, confidence of links.

Drawn as `figures` does it: shapes stretch with the page, text does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.apps.figures import escape, polyline, stretched, xy_text

HISTOGRAM_BINS = 20


class Axes(NamedTuple):
    """What is written around a plot."""

    label: str  # For those who cannot see it.
    x: str  # HTML, one element a label.
    x_kind: str = ""  # "ends": from edge to edge, else a label in each of equal parts.
    top: str = "100%"
    middle: str = "50%"
    legend: str = ""


def survival_figure(survival: Mapping[str, Mapping[str, Any]], fps: float) -> str:
    """Share of identities that survive an absence, by its length.

    Args:
      survival: `PermanenceScores.compute()` of each naming, such as "before", "after";
        undefined shares may be NaN or None.
    """
    series = {
        name: (np.array(r["identity_survival_by_gap"], float), r["num_returns_by_gap"])
        for name, r in survival.items()
    }
    edges = next(iter(survival.values()))["gap_edges"]
    counts = np.max([count for _, count in series.values()], axis=0)
    bins = np.flatnonzero(counts).tolist()
    if not bins:
        return "<p>No object came back after an absence.</p>"
    body = "".join(f'<path class="grid" d="M0 {y}h100"/>' for y in range(0, 101, 25))
    for name, (share, count) in series.items():
        body += _curve(name, share, count, bins)
    labels = "".join(
        f"<span>{_span(edges, k, fps)}<small>{counts[k]}&times;</small></span>"
        for k in bins
    )
    legend = "".join(
        f'<span class="key {escape(name)}">{escape(name)}</span>' for name in series
    )
    label = "identity survival by time out of view"
    return _chart(body, Axes(label, labels, legend=legend))


def _curve(
    name: str, share: np.ndarray, count: Sequence[int], bins: Sequence[int]
) -> str:
    """A line with a dot at each bin that has a share."""
    kind = escape(name)
    places = [(n, k) for n, k in enumerate(bins) if np.isfinite(share[k])]
    at = np.array(
        [[100 * (n + 0.5) / len(bins), 100 - 100 * share[k]] for n, k in places]
    )
    dots = "".join(
        f'<path class="point {kind}" d="M{xy_text(p)}h0"><title>{kind}: '
        f"{100 * share[k]:.0f}% of {count[k]}</title></path>"
        for p, (_, k) in zip(at, places, strict=True)
    )
    line = f'<path class="line {kind}" d="{polyline(at)}"/>' if len(at) > 1 else ""
    return line + dots


def _span(edges: Sequence[int], k: int, fps: float) -> str:
    """A bin of absences in seconds."""
    low = f"{edges[k] / fps:.2g}" if k else "0"
    if k + 1 == len(edges):
        return f"over {low} s"
    return f"{low}&ndash;{edges[k + 1] / fps:.2g} s"


def histogram_figure(confidence: Iterable[float]) -> str:
    """How many links are how sure."""
    values = np.clip(np.asarray(list(confidence), float), 0, 1)
    counts, _ = np.histogram(values[np.isfinite(values)], HISTOGRAM_BINS, (0, 1))
    top, width = max(2, int(counts.max())), 100 / HISTOGRAM_BINS
    top += top % 2  # So that the middle of the scale is a whole number.
    body = "".join(f'<path class="grid" d="M0 {y}h100"/>' for y in (0, 50, 100))
    for k, count in enumerate(counts):
        low, high = k / HISTOGRAM_BINS, (k + 1) / HISTOGRAM_BINS
        tall = 100 * count / top
        body += (
            f'<rect class="bar" x="{k * width + 0.5:g}" y="{100 - tall:.2f}" '
            f'width="{width - 1:g}" height="{tall:.2f}"><title>{count} links of '
            f"confidence {low:.2f} to {high:.2f}</title></rect>"
        )
    labels = "".join(f"<span>{v:g}</span>" for v in (0, 0.25, 0.5, 0.75, 1))
    axes = Axes("links by confidence", labels, "ends", str(top), str(top // 2))
    return _chart(body, axes)


def _chart(body: str, axes: Axes) -> str:
    legend = f'<div class="legend">{axes.legend}</div>' if axes.legend else ""
    return (
        f'<div class="chart">{legend}<div class="plot"><div class="scale-y">'
        f"<span>{axes.top}</span><span>{axes.middle}</span><span>0</span></div>"
        f"{stretched(100, 100, body, axes.label)}</div>"
        f'<div class="scale-x {axes.x_kind}">{axes.x}</div></div>'
    )
