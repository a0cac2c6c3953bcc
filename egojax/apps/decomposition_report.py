"""The report of a decomposed clip: one HTML file that opens without a network."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egojax.apps import charts, field_strips, page
from egojax.apps.charts import Curve
from egojax.apps.field_folder import Rendered
from egojax.apps.field_score_tables import (
    NUMBERS,
    SPLITS,
    Scores,
    benchmark_section,
    read_scores,
    scores_section,
)
from egojax.apps.figures import escape
from egojax.apps.report_parts import details_section, number, skipped_section
from egojax.data import arrays
from egojax.data.values import is_int
from egojax.metrics.schema import format_number
from egojax.tasks.field_training import PLACING
from egojax.train.log import TRAIN
from egojax.types import Clip, SkippedFrame

HEADLINES = ("psnr", "psnr_static", "psnr_dynamic", "mAP", "mAP_moving", "mAP_actor")

Log = Sequence[Mapping[str, Any]]  # Rows of training, by step.


def write_report(
    path: pathlib.Path,
    *,
    clip: Clip,
    folder: pathlib.Path,
    config: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    command: str = "",
    skipped: Sequence[tuple[str, SkippedFrame]] = (),
) -> None:
    """Writes the report.

    Args:
      clip: The clip that was decomposed.
      folder: The clip's. Read are `streams/`, `fixed/`, `views/`, `scores.json` and
        `fit/log.jsonl`; what is not there has no section.
      config: Shown at the end.
      machine: As `runs.describe_machine` returns it.
      command: What made the run, as it was typed; empty = not known.
      skipped: Frames that were left out, with the stage that did.

    Raises:
      UsageError: a file of the folder is damaged.
    """
    rendered, scores = Rendered(clip, folder), read_scores(folder)
    log = read_log(folder / "fit" / "log.jsonl")
    fixed_frame = scores.about.get("fixed_frame")
    parts = [
        _cards(scores, log),
        scores_section(scores, placed=(folder / "fit" / PLACING).is_dir()),
        benchmark_section(scores),
        field_strips.key_frames(rendered, scores.frames),
        _over_time(clip, scores.frames),
        field_strips.fixed_view(rendered, fixed_frame),
        field_strips.viewpoints(rendered),
        _training(log),
        skipped_section(clip, skipped),
        details_section(clip, config or {}, machine or {}, command),
    ]
    height, width = clip.size_hw
    subtitle = (
        f"{clip.num_frames:,} frames of {width} x {height}, "
        f"{len(rendered.times()):,} of them rendered"
    )
    text = page.document(f"Decomposition: {clip.name}", subtitle, filter(None, parts))
    arrays.write_text(path, text)


# --------------------------------------------------------------------------- reading


def read_log(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of training, in order; a line that was cut off is passed over."""
    lines = arrays.read_bytes(path).splitlines() if path.exists() else []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if (
            isinstance(row, dict)
            and row.get("event") == TRAIN
            and is_int(row.get("step"))
        ):
            rows.append(row)
    return rows


# ---------------------------------------------------------------------------- scores


def _cards(scores: Scores, log: Log) -> str:
    """What one wants to know first."""
    split = next((s for s in SPLITS if s in scores.names), "")
    cards = []
    for name in HEADLINES:
        value = scores.names.get(split, {}).get(name)
        if math.isfinite(number(value)):
            title = f"{NUMBERS[name][0]} ({SPLITS[split]})"
            cards.append(page.card(title, format_number(name, value)))
    if seconds := _seconds(log):
        cards.append(page.card("training", _duration(seconds)))
    return f'<div class="cards wide">{"".join(cards)}</div>' if cards else ""


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ---------------------------------------------------------------------------- curves


def _over_time(clip: Clip, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """PSNR and AP frame by frame; empty where no frame is scored."""
    found = [(t, rows[name]) for t, name in enumerate(clip.frame_ids) if name in rows]
    figures = [
        _frame_chart(clip, found, "psnr", "PSNR, dB"),
        _frame_chart(clip, found, "ap", "AP of all that moves, times 100", 100),
    ]
    body = "".join(filter(None, figures))
    if not body:
        return ""
    lead = "Frame by frame. A dot is a frame that was held out."
    return page.section("Over time", lead, f'<div class="pair">{body}</div>')


def _frame_chart(
    clip: Clip,
    found: Sequence[tuple[int, Mapping[str, Any]]],
    key: str,
    title: str,
    scale: float = 1,
) -> str:
    curves = []
    for is_held_out in (True, False):
        points = [
            (t, scale * number(row.get(key)))
            for t, row in found
            if (row.get("split") != "train") == is_held_out
        ]
        points = [(t, value) for t, value in points if math.isfinite(value)]
        if points:
            t, y = np.array(points, float).T
            tips = [f"{clip.frame_ids[int(k)]}: {v:.4g}" for k, v in points]
            name = SPLITS["held_out" if is_held_out else "train"]
            kind = "" if is_held_out else "before"
            marks = tips if is_held_out else ()
            curves.append(Curve(name, t / clip.fps, y, marks, kind))
    if not curves:
        return ""
    whole = 0.0, (clip.num_frames - 1) / clip.fps
    return _captioned(charts.curves_figure(curves, title, " s", whole), title)


def _captioned(chart: str, title: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{chart}</figure>"


def _training(log: Log) -> str:
    """How the loss fell; empty without a log."""
    if not log:
        return ""
    last = max((int(r["step"]) for r in log), default=0)
    error = _column(log, "squared_error")
    with np.errstate(divide="ignore", invalid="ignore"):
        quality = Curve("training", error.x, -10 * np.log10(error.y))
    charted = [
        (quality, "PSNR of the rays that it learns from, dB, by step"),
        (_column(log, "loss"), "loss, by step (below 0 is as it should be)"),
    ]
    body = "".join(
        _captioned(charts.curves_figure([curve], title, x_range=(0, last)), title)
        for curve, title in charted
        if np.isfinite(curve.y).any()
    )
    lead = f"{last:,} steps"
    if seconds := _seconds(log):
        lead += f" in {_duration(seconds)}"
    return page.section("Training", f"{lead}.", f'<div class="pair">{body}</div>')


def _seconds(log: Log) -> float:
    """How long the logged steps took, over all parts of a run; 0 = not known."""
    steps = np.diff([0.0, *(number(row.get("step")) for row in log)])
    rates = np.array([number(row.get("steps_per_second")) for row in log])
    with np.errstate(divide="ignore", invalid="ignore"):
        seconds = steps / rates
    return float(seconds.sum()) if np.isfinite(seconds).all() else 0.0


def _column(log: Log, name: str) -> Curve:
    step = np.array([number(row.get("step")) for row in log])
    return Curve("training", step, np.array([number(row.get(name)) for row in log]))
