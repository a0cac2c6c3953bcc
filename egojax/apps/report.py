"""The report of a clip: one HTML file that opens from disk, without a network."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egojax.apps import charts, evidence, figures, page, scene, timeline
from egojax.apps.figures import escape
from egojax.apps.looks import Looks, looks_of, names_of
from egojax.apps.report_parts import details_section, number, skipped_section
from egojax.apps.timeline import Link
from egojax.data import arrays
from egojax.metrics.schema import format_number, is_percent
from egojax.types import Clip, SkippedFrame, TrackTable

# Numbers of the table: how they are called, and what they say.
NUMBERS = {
    "HOTA": ("HOTA", "detection and association together"),
    "DetA": ("DetA", "detection; tracking cannot change it much"),
    "AssA": ("AssA", "association: how long the same thing keeps the same id"),
    "IDF1": ("IDF1", "share of detections under their object's one best id"),
    "MOTA": ("MOTA", "1 minus misses, false detections and switches per object"),
    "IDSW": ("id switches", "fewer is better"),
    "Frag": ("fragments", "interruptions of a track; fewer is better"),
    "identity_survival": ("identity survival", "share of returns under the old id"),
    "PCL_after_longest_absence": (
        "PCL after longest absence",
        "objects remembered at the right place and recognised on their return",
    ),
}
HEADLINES = ("AssA", "IDF1", "IDSW", "identity_survival")
FEWER_IS_BETTER = ("IDSW", "Frag", "CLR_FN", "CLR_FP", "IDFN", "IDFP", "FP_per_frame")
NAMINGS = ("before", "after")  # Of `scores`.
OPEN_OBJECTS = 60  # Rows of the table of objects that are open at once.

Scores = Mapping[str, Mapping[str, Any]]


def write_report(
    path: pathlib.Path,
    *,
    clip: Clip,
    table: TrackTable,
    scores: Scores,
    true_ids: np.ndarray | None = None,
    skipped: Sequence[tuple[str, SkippedFrame]] = (),
    config: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    command: str = "",
) -> None:
    """Writes the report.

    Args:
      clip: The clip that was tracked.
      table: What came out.
      scores: Numbers of the namings "before" and "after"; empty without truth.
      true_ids: (M,), the true object of each row, for the rows of the timeline.
      skipped: Frames that were left out, with the stage that did.
      config: Shown at the end.
      machine: As `runs.describe_machine` returns it.
      command: What made the run, as it was typed; empty = not known.
    """
    looks = looks_of(table, clip.category_names)
    links = timeline.find_links(table)
    trails = scene.trails_of(table)
    parts = [
        _cards(table, links, scores),
        _scores(scores),
        _timeline(clip, table, looks, true_ids),
        _map(clip, trails, looks),
        _survival(scores, clip.fps),
        evidence.key_frames(clip, table, looks),
        evidence.links(clip, table, links, looks),
        _objects(clip, table, links, trails, looks),
        skipped_section(clip, skipped),
        details_section(clip, config or {}, machine or {}, command),
    ]
    height, width = clip.size_hw
    subtitle = (
        f"{clip.num_frames:,} frames of {width} x {height}, "
        f"{clip.num_frames / clip.fps:.0f} s"
    )
    text = page.document(f"Tracking: {clip.name}", subtitle, filter(None, parts))
    arrays.write_text(path, text)


# ---------------------------------------------------------------------------- scores


def _cards(table: TrackTable, links: Sequence[Link], scores: Scores) -> str:
    """What one wants to know first."""
    before = len(np.unique(table.segment_id))
    tracks = len(np.unique(table.track_id[table.track_id > 0]))
    cards = [page.card("ids", str(tracks), str(before))]
    if _is_scored(scores):
        for name in HEADLINES:
            pair = [number(scores[key].get(name)) for key in NAMINGS]
            if all(map(math.isfinite, pair)):
                old, new = (format_number(name, scores[k][name]) for k in NAMINGS)
                cards.append(page.card(NUMBERS[name][0], new, old))
    else:
        cards.append(page.card("links between 2D ids", str(len(links))))
    return f'<div class="cards">{"".join(cards)}</div>'


def _is_scored(scores: Scores) -> bool:
    return all(key in scores for key in NAMINGS)


def _scores(scores: Scores) -> str:
    if not _is_scored(scores):
        lead = "The truth of this clip is not known, so nothing is scored."
        return page.section("Scores", lead, "")
    main = [
        _score_row(scores, name, title, meaning)
        for name, (title, meaning) in NUMBERS.items()
    ]
    single = [k for k, v in scores["after"].items() if not isinstance(v, list)]
    rest = [_score_row(scores, name, name, "") for name in single]
    heads = ["", "before", "after", "difference"]
    body = page.table(heads, filter(None, main))
    body += page.fold("All numbers", page.table(heads, filter(None, rest)))
    lead = (
        "Ratios times 100. Before: the ids of the 2D segments. After: the tracks. The "
        "segments are the same, only their names differ."
    )
    return page.section("Scores", lead, body)


def _score_row(scores: Scores, name: str, title: str, meaning: str) -> list[str]:
    """Cells of a row; none if the number is missing before or after."""
    values = [scores[key].get(name) for key in NAMINGS]
    before, after = map(number, values)
    if not (math.isfinite(before) and math.isfinite(after)):
        return []
    gap = after - before
    size = format_number(name, abs(gap) if is_percent(name) else _like(values[1], gap))
    sign = "+" if gap > 0 else "&minus;" if gap < 0 else ""
    better = gap < 0 if name in FEWER_IS_BETTER else gap > 0
    kind = ' class="better"' if better else ' class="worse"' if gap else ""
    shown = kind if name in NUMBERS else ""  # Of the others not all have a good side.
    note = f"<small>{escape(meaning)}</small>" if meaning else ""
    return [
        f"<b>{escape(title)}</b>{note}" if meaning else escape(title),
        format_number(name, values[0]),
        format_number(name, values[1]),
        f"<td{shown}>{sign}{size}</td>",
    ]


def _like(value: Any, gap: float) -> Any:
    """The size of a difference, whole where the numbers are."""
    return round(abs(gap)) if isinstance(value, int) else abs(gap)


def _survival(scores: Scores, fps: float) -> str:
    known = {
        key: scores[key]
        for key in NAMINGS
        if "identity_survival_by_gap" in scores.get(key, {})
    }
    if len(known) < len(NAMINGS):
        return ""
    lead = "Of the objects that came back, the share that has its old id, by absence."
    body = charts.survival_figure(known, fps)
    return page.section("Identity survival", lead, body)


# --------------------------------------------------------------------------- objects


def _timeline(
    clip: Clip, table: TrackTable, looks: Looks, true_ids: np.ndarray | None
) -> str:
    if true_ids is None:
        kind, objects, names = "track", table.track_id, looks.after.name
    else:
        kind = "true object (by its true id; elsewhere, ids are of tracks)"
        objects = true_ids
        names = names_of(table, true_ids, clip.category_names)
    lead = (
        f"A row for each {kind}: its 2D ids above, its tracks below, a colour for each "
        "id. Gaps are absences. At the right, the number of ids before and after."
    )
    made = timeline.make_timeline(table, objects, clip.num_frames)
    if not made.rows:
        return page.section("Identities over time", "No object was seen.", "")
    body = figures.timeline_figure(made, looks, names, clip.fps)
    return page.section("Identities over time", lead, body)


def _map(clip: Clip, trails: Mapping[int, scene.Trail], looks: Looks) -> str:
    path = scene.read_camera_path(clip)
    if path is None or not trails:
        return ""
    up = scene.up_direction(path.c2w)
    surface = scene.surface_points(clip)
    body = figures.map_figure(path, trails, looks.after, surface, up)
    lead = (
        "From above: the path of the camera, from the open circle to the full one, "
        "with the direction of its gaze; and each object where it was seen last, with "
        "the way that it came."
    )
    return page.section("Where things are", lead, body)


def _objects(
    clip: Clip,
    table: TrackTable,
    links: Sequence[Link],
    trails: Mapping[int, scene.Trail],
    looks: Looks,
) -> str:
    rows = [
        _object_row(clip, one, trails.get(one.track), looks)
        for one in timeline.summarize_objects(table, links)
    ]
    if not rows:
        return page.section("Objects", "No object was seen.", "")
    heads = [
        *("object", "frames seen", "first to last", "2D ids", "longest absence"),
        *("last place, m", "travelled, m", "least sure link"),
    ]
    body = page.table(heads, rows[:OPEN_OBJECTS])
    if rest := rows[OPEN_OBJECTS:]:
        body += page.fold(f"{len(rest)} more objects", page.table(heads, rest))
    return page.section("Objects", "", body)


def _object_row(
    clip: Clip,
    one: timeline.ObjectSummary,
    trail: scene.Trail | None,
    looks: Looks,
) -> list[str]:
    place = "&ndash;" if trail is None else ", ".join(f"{v:.2f}" for v in trail.at[-1])
    mark = figures.swatch(looks.after.color[one.track])
    span = [one.first / clip.fps, one.last / clip.fps]
    absence = one.longest_absence / clip.fps
    return [
        f"{mark}{escape(looks.after.name[one.track])}",
        str(one.num_frames),
        f"{span[0]:.1f}&ndash;{span[1]:.1f} s",
        str(len(one.segment_ids)),
        f"{absence:.2f} s" if one.longest_absence else "&ndash;",
        place,
        "&ndash;" if trail is None else f"{trail.length:.2f}",
        "&ndash;" if math.isnan(one.confidence) else f"{one.confidence:.2f}",
    ]
