"""The charts of reports: curves, identity survival, confidence of links.

Drawn as `figures` does it: shapes stretch with the page, text does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.apps.figures import escape, polyline, stretched, xy_text

HISTOGRAM_BINS = 20
MOST_POINTS = 400  # Of a curve; longer ones are averaged over neighbours.
MOST_DOTS = 120  # Of a curve whose points are marked.
MOST_LABELS = 7  # Along x.
STEPS = (1, 2, 2.5, 5, 10, 20, 50)  # Between labels, times a power of ten.


class Axes(NamedTuple):
    """What is written around a plot."""

    label: str  # For those who cannot see it.
    x: str  # HTML, one element a label.
    x_kind: str = ""  # "ends": from edge to edge; "at": each at a place of its own.
    top: str = "100%"
    middle: str = "50%"
    legend: str = ""
    bottom: str = "0"


class Curve(NamedTuple):
    """A line of a chart. Points that are not finite are left out."""

    name: str
    x: np.ndarray  # (n,), ascending.
    y: np.ndarray  # (n,)
    tips: Sequence[str] = ()  # One a point: then points are marked and say this.
    kind: str = ""  # Its class in `page.STYLE`: "before" is gray.


def curves_figure(
    curves: Sequence[Curve],
    label: str,
    x_unit: str = "",
    x_range: tuple[float, float] | None = None,
) -> str:
    """Curves over one another, on a scale that holds them all.

    Args:
      curves: The first is drawn on top of the others; names are shown of several.
      label: For those who cannot see it.
      x_unit: Written behind the labels along x.
      x_range: From edge to edge; None = that of the curves.

    Returns:
      HTML; a sentence where nothing is finite.
    """
    kept = [_finite(curve) for curve in curves]
    kept = [curve for curve in kept if len(curve.x)]
    if not kept:
        return "<p>There is nothing to draw.</p>"
    x, y = (np.concatenate([getattr(c, name) for c in kept]) for name in ("x", "y"))
    left, right = x_range or (float(x.min()), float(x.max()))
    width = max(right - left, 1e-9)
    low, high = _scale(float(y.min()), float(y.max()))
    body = "".join(f'<path class="grid" d="M0 {at}h100"/>' for at in (0, 50, 100))
    for curve in reversed(kept):
        across, up = (curve.x - left) / width, (curve.y - low) / (high - low)
        body += _line(curve, 100 * np.stack([across, 1 - up], 1))
    labels = "".join(
        f'<span style="left:{100 * (at - left) / width:.2f}%">{at:,.6g}'
        f"{escape(x_unit)}</span>"
        for at in _ticks(left, right)
    )
    names = [
        f'<span class="key {escape(c.kind)}">{escape(c.name)}</span>' for c in kept
    ]
    legend = "".join(names) if len(names) > 1 else ""
    top, middle, bottom = (f"{v:.4g}" for v in (high, (low + high) / 2, low))
    return _chart(body, Axes(label, labels, "at", top, middle, legend, bottom))


def _ticks(left: float, right: float) -> list[float]:
    """Round numbers from left to right, not too many."""
    for step in _steps((right - left) / MOST_LABELS):
        first, last = int(np.ceil(left / step)), int(np.floor(right / step))
        if last - first < MOST_LABELS:
            return [round(n * step, 12) for n in range(first, last + 1)]
    return []


def _steps(least: float) -> list[float]:
    """Round distances, ascending, from about `least` on."""
    power = 10.0 ** np.floor(np.log10(max(least, 1e-12)))
    return [float(power * step) for step in STEPS]


def _finite(curve: Curve) -> Curve:
    """Its finite points; means of neighbours where there are too many to draw."""
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    tips = (
        [tip for tip, k in zip(curve.tips, keep, strict=True) if k]
        if curve.tips
        else []
    )
    if len(x) > MOST_POINTS:
        parts = np.array_split(np.arange(len(x)), MOST_POINTS)
        x, y = (np.array([v[part].mean() for part in parts]) for v in (x, y))
    if len(tips) > MOST_DOTS:
        tips = []
    return curve._replace(x=x, y=y, tips=tips)


def _scale(low: float, high: float) -> tuple[float, float]:
    """Round numbers, two steps apart, that hold all values."""
    gap = max((high - low) / 2, 1e-6 * max(abs(low), abs(high), 1e-6))
    for step in _steps(gap):
        start = float(np.floor(low / step)) * step
        if start + 2 * step >= high:
            return start, start + 2 * step
    raise ValueError(f"no scale from {low} to {high}")


def _line(curve: Curve, at: np.ndarray) -> str:
    kind = escape(curve.kind)
    dots = "".join(
        f'<path class="point {kind}" d="M{xy_text(p)}h0"><title>{escape(tip)}</title>'
        "</path>"
        for p, tip in zip(at, curve.tips, strict=False)
    )
    return f'<path class="line {kind}" d="{polyline(at)}"/>{dots}'


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
        f"<span>{axes.top}</span><span>{axes.middle}</span><span>{axes.bottom}</span></div>"
        f"{stretched(100, 100, body, axes.label)}</div>"
        f'<div class="scale-x {axes.x_kind}">{axes.x}</div></div>'
    )
