"""The report of what moves in a clip: one HTML file that opens without a network."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egojax.apps import charts, figures, page
from egojax.apps.charts import Curve
from egojax.apps.figures import escape
from egojax.apps.motion_pictures import (
    Found,
    color_of,
    flow_picture,
    mask_picture,
    track_picture,
    verdict_picture,
)
from egojax.apps.report_parts import details_section, number, skipped_section
from egojax.data import arrays
from egojax.errors import FrameError
from egojax.methods import motion_scores
from egojax.metrics.schema import format_number
from egojax.ops.scene_bounds import spread
from egojax.types import SkippedFrame

KEY_FRAMES = 6
TILE = 400  # Pixels.
NUMBERS = {
    "J": ("J", "region similarity of all that moves, mean over frames"),
    "F": ("F", "contour accuracy of the same"),
    "bodies_IoU": ("IoU of bodies", "each with the group that fits it best"),
    "tracks_ARI": ("ARI of tracks", "of those that were given a group"),
    "tracks_FG-ARI": ("FG-ARI of tracks", "the same, on what truly moves alone"),
    "tracks_share": ("share of points in a group", "of all that were followed"),
    "points_ARI": ("ARI of points", "all that were followed, by their masks"),
    "points_FG-ARI": ("FG-ARI of points", "the same, on what truly moves alone"),
    "IDF1": ("IDF1", "of groups as ids of bodies, over the whole clip"),
    "ids_first": ("ids that last", "frames of a body with the id that it had first"),
    "ids_main": ("the main id", "frames of a body with the id that it has most often"),
    "bodies": ("bodies", "that truly move"),
    "groups": ("groups", "that were found"),
}
HEADLINES = ("J", "F", "tracks_ARI", "tracks_FG-ARI", "bodies_IoU")
PLAIN = ("bodies", "groups")  # Counts; all else is a share.


def write_report(
    path: pathlib.Path,
    *,
    found: Found,
    scores: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    command: str = "",
    skipped: Sequence[tuple[str, SkippedFrame]] = (),
) -> None:
    """Writes the report.

    Args:
      found: What the run has found.
      scores: As the score stage has left them.
      config: Shown at the end.
      machine: As `runs.describe_machine` returns it.
      command: What made the run, as it was typed; empty = not known.
      skipped: Frames that were left out, with the stage that did.
    """
    clip = found.clip
    parts = [
        _cards(found, scores["names"]),
        _scores(scores["names"]),
        _key_frames(found, scores["frames"]),
        _over_time(found, scores["frames"]),
        _groups(found, scores["pairs"]),
        skipped_section(clip, skipped),
        details_section(clip, config or {}, machine or {}, command),
    ]
    height, width = clip.size_hw
    signal = f"{len(found.tracks):,} point tracks" if found.has_points else "flow alone"
    subtitle = f"{clip.num_frames:,} frames of {width} x {height}, {signal}"
    text = page.document(f"Motion: {clip.name}", subtitle, filter(None, parts))
    arrays.write_text(path, text)


def _cards(found: Found, names: Mapping[str, Any]) -> str:
    cards = [page.card("things that move", str(found.num_groups))]
    for name in HEADLINES:
        if math.isfinite(number(names.get(name))):
            cards.append(page.card(NUMBERS[name][0], _shown(name, names[name])))
    return f'<div class="cards wide">{"".join(cards)}</div>'


def _shown(name: str, value: float) -> str:
    return f"{value:.0f}" if name in PLAIN else format_number("J", value)


def _scores(names: Mapping[str, Any]) -> str:
    rows = [
        [f"{title}<small>{meaning}</small>", _shown(name, names[name])]
        for name, (title, meaning) in NUMBERS.items()
        if math.isfinite(number(names.get(name)))
    ]
    if "J" not in names:
        lead = "The truth of this clip is not known, so nothing is scored."
        return page.section("Scores", lead, "")
    lead = "Against the truth, of which nothing was used. Shares are percent."
    return page.section("Scores", lead, page.table(["", "value"], rows))


def _key_frames(found: Found, rows: Mapping[str, Mapping[str, Any]]) -> str:
    truth = dict(motion_scores.true_frames(found.clip)) if rows else {}
    body = ""
    for t in spread(found.clip.num_frames, KEY_FRAMES):
        body += _key_frame(found, t, truth.get(t), rows)
    if not body:
        return ""
    names = ", ".join(
        f"{figures.swatch(color_of(k))} {k}" for k in range(1, found.num_groups + 1)
    )
    legend = f'<p class="legend">Groups: {names or "none"}</p>'
    points = (
        "Points with the paths of their last frames, by colour of their group (gray: "
        "at rest, dark: not told); the masks that they become"
    )
    lead = (
        f"{points if found.has_points else 'Masks'}; optical flow, direction as hue. "
        "The whole clip is in overlay.mp4, beside this file."
    )
    return page.section("Key frames", lead, legend + body)


def _key_frame(
    found: Found,
    t: int,
    truth: np.ndarray | None,
    rows: Mapping[str, Mapping[str, Any]],
) -> str:
    clip = found.clip
    assert clip.frames is not None
    try:
        image, labels, flow = clip.frames[t], found.labels(t), found.flow(t)
    except FrameError:
        return ""
    if image is None or labels is None:
        return ""
    tiles = [(mask_picture(image, labels, TILE), "masks")]
    if found.has_points:
        tiles.insert(0, (track_picture(image, found, t, TILE), "tracks"))
    if flow is not None:
        tiles.append((flow_picture(flow), "flow to the next frame"))
    if truth is not None:
        judged = verdict_picture(image, labels, truth)
        tiles.append((judged, "found green, in error orange, missed magenta"))
    name = clip.frame_ids[t]
    region = number(rows.get(name, {}).get("J"))
    fact = f", J {format_number('J', region)}" if math.isfinite(region) else ""
    cells = "".join(figures.captioned(p, caption) for p, caption in tiles)
    title = f"{escape(name)}, {t / clip.fps:.1f} s{fact}"
    return f'<h3>{title}</h3><div class="tiles four">{cells}</div>'


def _over_time(found: Found, rows: Mapping[str, Mapping[str, Any]]) -> str:
    clip = found.clip
    known = [(t, rows[n]) for t, n in enumerate(clip.frame_ids) if n in rows]
    if len(known) < 2:
        return ""
    at = np.array([t / clip.fps for t, _ in known])
    curves = [
        Curve(name, at, np.array([100 * number(row.get(name)) for _, row in known]))
        for name in ("J", "F")
    ]
    figure = charts.curves_figure(curves, "J and F over time, percent", " s")
    return page.section("Over time", "J and F of all that moves, percent.", figure)


def _groups(found: Found, pairs: Mapping[str, int]) -> str:
    if not found.has_points:
        return ""
    owner = {group: body for body, group in pairs.items()}
    heads = ["group", "tracks", "from", "to", "true body"]
    rows, fps = [], found.clip.fps
    for group in range(1, found.num_groups + 1):
        mine = found.group == group
        first = found.tracks.first[mine]
        last = first + found.tracks.count[mine] - 1
        rows.append(
            [
                f"{figures.swatch(color_of(group))}{group}",
                f"{int(mine.sum()):,}",
                f"{first.min() / fps:.1f} s" if mine.any() else "",
                f"{last.max() / fps:.1f} s" if mine.any() else "",
                escape(owner.get(group, "")),
            ]
        )
    rest = int((found.group == 0).sum())
    unknown = int((found.group < 0).sum())
    lead = (
        f"{rest:,} tracks are at rest, {unknown:,} are too short or too few to tell; "
        "their pixels go with what they look like."
    )
    return page.section("Groups", lead, page.table(heads, rows) if rows else "")
