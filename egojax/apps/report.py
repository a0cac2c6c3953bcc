"""The report of a clip: one HTML file that opens from disk, without a network."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from egojax.apps import figures, page, scene, timeline, viz
from egojax.apps.figures import escape
from egojax.apps.looks import Looks, looks_of
from egojax.data import arrays
from egojax.errors import FrameError
from egojax.metrics.schema import format_number, is_percent
from egojax.types import Clip, SkippedFrame, TrackTable

# Numbers of the table, with what they say.
NUMBERS = {
    "HOTA": "detection and association together",
    "DetA": "detection; tracking cannot change it much",
    "AssA": "association: how long the same thing keeps the same id",
    "IDF1": "share of detections under their object's one best id",
    "IDSW": "id switches; fewer is better",
    "identity_survival": "share of returns under the old id",
    "PCL_after_longest_absence": "objects found again after their longest absence",
}
KEY_FRAMES = 3
LEAST_SURE = 8
THUMB = 160  # Pixels.


def write_report(
    path: pathlib.Path,
    *,
    clip: Clip,
    table: TrackTable,
    scores: Mapping[str, Mapping[str, Any]],
    true_ids: np.ndarray | None = None,
    skipped: Sequence[tuple[str, SkippedFrame]] = (),
    config: Mapping[str, Any] | None = None,
) -> None:
    """Writes the report.

    Args:
      clip: The clip that was tracked.
      table: What came out.
      scores: Numbers of the namings "before" and "after"; empty without truth.
      true_ids: (M,), the true object of each row, for the rows of the timeline.
      skipped: Frames that were left out, with the stage that did.
      config: Shown at the end.
    """
    looks = looks_of(table, clip.category_names)
    links = timeline.find_links(table)
    parts = [
        _scores(scores),
        _timeline(clip, table, looks, true_ids),
        _map(clip, table, looks),
        _survival(scores, clip.fps),
        _pictures(clip, table),
        _links(clip, table, links, looks),
        _objects(clip, table, links, looks),
        _skipped(clip, skipped),
        _details(clip, config or {}),
    ]
    tracks = len(np.unique(table.track_id[table.track_id > 0]))
    before = len(np.unique(table.segment_id))
    subtitle = (
        f"{clip.num_frames} frames, {clip.num_frames / clip.fps:.0f} s; "
        f"{before} ids before, {tracks} tracks after"
    )
    text = page.document(f"Tracking: {clip.name}", subtitle, filter(None, parts))
    arrays.write_text(path, text)


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> str:
    if "before" not in scores or "after" not in scores:
        lead = "The truth of this clip is not known, so nothing is scored."
        return page.section("Scores", lead, "")
    rows = []
    for name, meaning in NUMBERS.items():
        before, after = scores["before"].get(name), scores["after"].get(name)
        if before is None or after is None:
            continue
        scale = 100 if is_percent(name) else 1
        gap = scale * (after - before)
        better = gap < 0 if name == "IDSW" else gap > 0
        kind = "" if gap == 0 else ' class="good"' if better else ' class="bad"'
        rows.append(
            [
                f"<td><b>{escape(name)}</b><br><small>{escape(meaning)}</small></td>",
                format_number(name, before),
                format_number(name, after),
                f"<td{kind}>{gap:+.1f}</td>",
            ]
        )
    lead = "Ratios times 100. Before: the ids of the 2D segments. After: the tracks."
    heads = ["", "before", "after", "difference"]
    return page.section("Scores", lead, page.table(heads, rows))


def _timeline(
    clip: Clip, table: TrackTable, looks: Looks, true_ids: np.ndarray | None
) -> str:
    lead = (
        "A row for each object: the 2D ids above, the tracks below, a colour for each "
        "id. Gaps are absences."
    )
    if true_ids is None:
        objects, names = table.track_id, looks.after.name
    else:
        objects = true_ids
        kinds = {int(i): _kind(clip, table, true_ids == i) for i in np.unique(true_ids)}
        names = {i: f"{kind} {i}" for i, kind in kinds.items()}
    made = timeline.make_timeline(table, objects, clip.num_frames)
    body = figures.timeline_figure(made, looks, names, clip.fps)
    return page.section("Identities over time", lead, body)


def _kind(clip: Clip, table: TrackTable, rows: np.ndarray) -> str:
    category = table.category[rows]
    known = category[(category >= 0) & (category < len(clip.category_names))]
    if not len(known):
        return "object"
    return clip.category_names[int(np.bincount(known).argmax())]


def _map(clip: Clip, table: TrackTable, looks: Looks) -> str:
    path, trails = scene.read_camera_path(clip), scene.trails_of(table)
    if path is None or not trails:
        return ""
    up = scene.up_direction(path.c2w)
    surface = scene.surface_points(clip)
    body = figures.map_figure(path, trails, looks.after, surface, up)
    lead = "From above: the camera's path, and where each object was seen. In metres."
    return page.section("Where things are", lead, body)


def _survival(scores: Mapping[str, Mapping[str, Any]], fps: float) -> str:
    known = {
        key: scores[key]
        for key in ("before", "after")
        if "identity_survival_by_gap" in scores.get(key, {})
    }
    if len(known) < 2:
        return ""
    lead = "Of the objects that came back, the share that has its old id, by absence."
    body = figures.survival_figure(known, fps)
    return page.section("Identity survival", lead, body)


def _pictures(clip: Clip, table: TrackTable) -> str:
    """Frames before and after, where most ids have changed."""
    if clip.frames is None or not len(table):
        return ""
    scribe = viz.Scribe(clip, table)
    cells = []
    for t in _telling_frames(table):
        try:
            layers = {name: clip.sources[name][t] for name in scribe.layers}
        except FrameError:
            continue
        picture = scribe.side_by_side(t, layers, viz.PANE_WIDTH)
        uri = figures.data_uri(picture)
        cells.append(f'<p><img src="{uri}" alt="frame {t}" style="width:100%"></p>')
    lead = "Left the 2D ids, right the tracks."
    return page.section("Before and after", lead, "".join(cells)) if cells else ""


def _telling_frames(table: TrackTable) -> list[int]:
    """A few frames, far apart, in which many 2D ids are not their track's first."""
    first: dict[int, int] = {}
    changed = np.zeros(int(table.frame_idx.max()) + 1)
    rows = zip(table.frame_idx, table.track_id, table.segment_id, strict=True)
    for t, track, segment in rows:
        first.setdefault(int(track), int(segment))
        changed[t] += 1 + 10 * (first[int(track)] != int(segment))
    parts = np.array_split(np.arange(len(changed)), min(KEY_FRAMES, len(changed)))
    return [int(part[changed[part].argmax()]) for part in parts if len(part)]


def _links(
    clip: Clip, table: TrackTable, links: Sequence[timeline.Link], looks: Looks
) -> str:
    if not links:
        return ""
    lead = (
        "Where a track went on under another 2D id, and how sure that is; the least "
        "sure ones with pictures of both sides."
    )
    body = figures.histogram_figure(link.confidence for link in links)
    weakest = sorted(links, key=lambda link: link.confidence)[:LEAST_SURE]
    cells = "".join(_link_card(clip, table, link, looks) for link in weakest)
    body = f'{body}<div class="links">{cells}</div>'
    return page.section("Links", lead, body)


def _link_card(clip: Clip, table: TrackTable, link: timeline.Link, looks: Looks) -> str:
    rows = (link.row_before, link.row_after)
    thumbs = "".join(_thumb(clip, table, row) for row in rows)
    gap = int(table.frame_idx[rows[1]] - table.frame_idx[rows[0]])
    name = looks.after.name.get(link.track, f"track {link.track}")
    return (
        f'<div class="link"><div>{thumbs}</div><b>{escape(name)}</b><br>'
        f"confidence {link.confidence:.2f}, after {gap / clip.fps:.1f} s</div>"
    )


def _thumb(clip: Clip, table: TrackTable, row: int) -> str:
    if clip.frames is None:
        return ""
    try:
        frame = clip.frames[int(table.frame_idx[row])]
    except FrameError:
        return ""
    half = int(max(24, 0.9 * np.sqrt(max(table.area[row], 1))))
    x, y = (int(v) for v in table.centroid_xy[row])
    cut = frame[max(0, y - half) : y + half, max(0, x - half) : x + half]
    return f'<img src="{figures.data_uri(cut)}" alt="">' if cut.size else ""


def _objects(
    clip: Clip, table: TrackTable, links: Sequence[timeline.Link], looks: Looks
) -> str:
    trails = scene.trails_of(table)
    rows = []
    for one in timeline.summarize_objects(table, links):
        trail = trails.get(one.track)
        place = "-" if trail is None else ", ".join(f"{v:.2f}" for v in trail.at[-1])
        sure = "-" if np.isnan(one.confidence) else f"{one.confidence:.2f}"
        mark = figures.swatch(looks.after.color[one.track])
        rows.append(
            [
                f"{mark} {escape(looks.after.name.get(one.track, one.track))}",
                str(one.num_frames),
                str(len(one.segment_ids)),
                f"{one.longest_absence / clip.fps:.1f} s",
                place,
                "-" if trail is None else f"{trail.length:.2f}",
                sure,
            ]
        )
    heads = [
        "object",
        "frames",
        "2D ids",
        "longest absence",
        "last place, m",
        "travelled, m",
        "least sure link",
    ]
    body = page.table(heads, rows) if rows else "<p>No object was seen.</p>"
    return page.section("Objects", "", body)


def _skipped(clip: Clip, skipped: Sequence[tuple[str, SkippedFrame]]) -> str:
    if not skipped:
        return page.section("Frames left out", "None.", "")
    rows = [
        [escape(clip.frame_ids[frame.frame_idx]), escape(stage), escape(frame.reason)]
        for stage, frame in skipped[:200]
    ]
    lead = f"{len(skipped)} of {clip.num_frames}; the first 200 are listed."
    body = page.table(["frame", "stage", "why"], rows)
    return page.section("Frames left out", lead, body)


def _details(clip: Clip, config: Mapping[str, Any]) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in clip.notes)
    text = "\n".join(_flat(config))
    return page.section(
        "Details",
        "The same command with --mode=view opens this run in 3D.",
        notes + page.fold("Configuration", f"<pre>{escape(text)}</pre>"),
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} = {json.dumps(value, default=str)}"
