"""Pictures of a report: telling frames before and after, the least sure links."""

from collections.abc import Sequence

import numpy as np

from egojax.apps import charts, figures, page, viz
from egojax.apps.figures import escape
from egojax.apps.looks import Look, Looks
from egojax.apps.timeline import Link
from egojax.errors import FrameError
from egojax.types import Clip, TrackTable

KEY_FRAMES = 4
LEAST_SURE = 12
THUMB = 160  # Pixels.
CONTEXT = 1.1  # Half the side of a thumbnail, in roots of the segment's area.


def key_frames(clip: Clip, table: TrackTable, looks: Looks) -> str:
    """Frames before and after, where most ids have changed; empty without frames."""
    if clip.frames is None or not len(table):
        return ""
    scribe = viz.Scribe(clip, table, looks)
    cells = []
    for t in _telling_frames(table):
        try:
            layers = {name: clip.sources[name][t] for name in scribe.layers}
        except FrameError:
            continue
        before, after = scribe.before(t, layers), scribe.after(t, layers)
        name, clock = escape(clip.frame_ids[t]), f"{t / clip.fps:.1f} s"
        cells.append(
            f'<div class="pair">{_figure(before, f"before, {name}, {clock}")}'
            f"{_figure(after, f'after, {name}, {clock}')}</div>"
        )
    lead = "The frames of each part of the clip in which most 2D ids are not the first."
    return page.section("Before and after", lead, "".join(cells)) if cells else ""


def _figure(picture: np.ndarray, caption: str) -> str:
    uri = figures.data_uri(picture)
    image = f'<img src="{uri}" alt="{caption}" loading="lazy">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _telling_frames(table: TrackTable) -> list[int]:
    """A few frames, far apart, in which many 2D ids are not their track's first."""
    tracked = np.flatnonzero(table.track_id > 0)
    tracks, first, row = np.unique(
        table.track_id[tracked], return_index=True, return_inverse=True
    )
    if not len(tracks):
        return [int(table.frame_idx[len(table) // 2])]
    heads = table.segment_id[tracked][first]
    changed = table.segment_id[tracked] != heads[row]
    worth = np.bincount(table.frame_idx[tracked], 1 + 10 * changed)
    parts = np.array_split(np.arange(len(worth)), min(KEY_FRAMES, len(worth)))
    best = [int(part[worth[part].argmax()]) for part in parts]
    return [t for t in best if worth[t] > 0]


def links(clip: Clip, table: TrackTable, found: Sequence[Link], looks: Looks) -> str:
    """How sure the links are, the least sure ones with pictures of both sides."""
    title = "Links"
    if not found:
        return page.section(title, "No track went on under another 2D id.", "")
    lead = (
        f"{len(found)} times a track went on under another 2D id. How sure each of "
        "these links is, and the least sure ones: the object as it was seen last, and "
        "as it came back."
    )
    weakest = sorted(found, key=lambda link: link.confidence)[:LEAST_SURE]
    cards = "".join(_card(clip, table, link, looks) for link in weakest)
    body = charts.histogram_figure(link.confidence for link in found)
    return page.section(title, lead, f'{body}<div class="links">{cards}</div>')


def _card(clip: Clip, table: TrackTable, link: Link, looks: Looks) -> str:
    rows = (link.row_before, link.row_after)
    thumbs = "".join(_thumb(clip, table, row, looks.after) for row in rows)
    seen, back = (int(table.frame_idx[row]) / clip.fps for row in rows)
    name = looks.after.name.get(link.track, f"track {link.track}")
    return (
        f'<div class="link"><div>{thumbs}</div><b>{escape(name)}</b><br>'
        f"confidence {link.confidence:.2f}<br>"
        f"<small>seen at {seen:.1f} s, again at {back:.1f} s</small></div>"
    )


def _thumb(clip: Clip, table: TrackTable, row: int, look: Look) -> str:
    """The segment of a row of the table with what surrounds it."""
    if clip.frames is None:
        return ""
    t, segment = int(table.frame_idx[row]), int(table.segment_id[row])
    try:
        frame = clip.frames[t]
        labels = None if clip.labels is None else clip.labels[t]
    except FrameError:
        return ""
    window = _window(table.centroid_xy[row], table.area[row], frame.shape[:2])
    shown = {segment: int(table.track_id[row])}
    picture = viz.draw_segments(
        np.ascontiguousarray(frame[window]),
        None if labels is None else np.ascontiguousarray(labels[window]),
        shown,
        look._replace(name={}),
        width=THUMB,
        fill=0.0,
    )
    return f'<img src="{figures.data_uri(picture)}" alt="{escape(clip.frame_ids[t])}">'


def _window(
    centroid_xy: np.ndarray, area: int, size_hw: tuple[int, ...]
) -> tuple[slice, slice]:
    """Rows and columns of a square around a segment, moved into the image."""
    side = min(int(2 * max(32.0, CONTEXT * float(area) ** 0.5)), *size_hw)
    x, y = (
        int(np.clip(c - side / 2, 0, most - side))
        for c, most in zip(centroid_xy, size_hw[::-1], strict=True)
    )
    return slice(y, y + side), slice(x, x + side)
