"""Pictures of a decomposition's report: telling frames, one viewpoint, the scene."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egojax.apps import figures, page
from egojax.apps.field_folder import FIXED, STREAMS, VIEWS, Rendered
from egojax.apps.field_frames import (
    FALSE_ALARM,
    HIT,
    LARGEST_ERROR,
    MISSED,
    depth_picture,
    enlarged,
    error_picture,
    gray,
    stream_tiles,
    tinted,
    verdict,
)
from egojax.apps.figures import escape
from egojax.apps.report_parts import number
from egojax.data.stream_images import NAMES, StreamImages, read_images
from egojax.errors import FrameError
from egojax.metrics.schema import format_number
from egojax.ops.scene_bounds import spread

KEY_FRAMES = 4
CANDIDATES = 64  # Frames that are looked at for the telling ones.
FIXED_TIMES = 4
MOST_VIEWS = 10

Rows = Mapping[str, Mapping[str, Any]]  # Name of a frame to its numbers.


def key_frames(rendered: Rendered, rows: Rows) -> str:
    """Held-out frames tile by tile; of all frames where none is held out."""
    times = rendered.times()
    held_out = [t for t in times if rendered.split(t) == "test"]
    picked = _telling(rendered, held_out or times, STREAMS, KEY_FRAMES)
    worst = _worst(rendered, held_out or times, rows)
    if worst is not None and worst not in picked:
        picked.append(worst)
    body = "".join(_key_frame(rendered, t, rows, t == worst) for t in picked)
    if not body:
        return ""
    kind = "Held-out frames: training has not seen them." if held_out else ""
    has_video = (rendered.folder / "summary.mp4").exists()
    video = " The whole clip is in summary.mp4, beside this file." if has_video else ""
    lead = (
        f"{kind or 'No frame was held out: training has seen these.'} From each part "
        "of the clip the one in which most moves, and the worst one. The parts of the "
        "streams add up to the rendered frame; static alone is what it would be "
        f"without the others. Error: the brightest is {LARGEST_ERROR:g} of the full "
        f"range and above. Depth: from near (red) to far (blue).{video}"
    )
    return page.section("Key frames", lead, _legend(rendered) + body)


def _legend(rendered: Rendered) -> str:
    if not rendered.is_annotated:
        return ""
    names = ((HIT, "found"), (FALSE_ALARM, "found in error"), (MISSED, "missed"))
    marks = "".join(f"{figures.swatch(c)}{n} &emsp;" for c, n in names)
    return f'<p class="legend">Mask against truth, cut at one half: {marks}</p>'


def _telling(
    rendered: Rendered, times: Sequence[int], part: str, wanted: int
) -> list[int]:
    """A few frames, far apart, in which much moves."""
    some = [times[n] for n in spread(len(times), min(len(times), CANDIDATES))]
    if not some:
        return []
    groups = np.array_split(np.array(some), min(wanted, len(some)))
    worth = {
        t: float(np.nan_to_num(rendered.images(part, t).dynamic).mean()) for t in some
    }
    return [max(group.tolist(), key=worth.__getitem__) for group in groups]


def _worst(rendered: Rendered, times: Sequence[int], rows: Rows) -> int | None:
    """The frame of the least PSNR, where that is known."""
    names = rendered.clip.frame_ids
    known = {t: number(rows.get(names[t], {}).get("psnr")) for t in times}
    known = {t: value for t, value in known.items() if math.isfinite(value)}
    return min(known, key=known.__getitem__, default=None)


def _key_frame(rendered: Rendered, t: int, rows: Rows, is_worst: bool) -> str:
    try:
        photo = rendered.photo(t)
        truth = rendered.truth(t)
    except FrameError:
        return ""
    if photo is None:
        return ""
    images = rendered.images(STREAMS, t)
    tiles = key_tiles(photo, images, truth)
    title = ", ".join(filter(None, _facts(rendered, t, rows, is_worst)))
    return f"<h3>{title}</h3>{tiles_html(tiles)}"


def _facts(rendered: Rendered, t: int, rows: Rows, is_worst: bool) -> list[str]:
    name = rendered.clip.frame_ids[t]
    row = rows.get(name, {})
    psnr, ap = number(row.get("psnr")), number(row.get("ap"))
    return [
        f"{escape(name)}, {t / rendered.clip.fps:.1f} s",
        f"PSNR {format_number('psnr', psnr)} dB" if math.isfinite(psnr) else "",
        f"AP {format_number('AP', ap)}" if math.isfinite(ap) else "",
        "the worst PSNR" if is_worst else "",
    ]


def key_tiles(
    photo: np.ndarray, images: StreamImages, truth: np.ndarray | None
) -> list[tuple[np.ndarray, str]]:
    """Tiles of a frame with their captions; of streams that are not there, none."""
    rendered, static, *_ = stream_tiles(images)
    tiles = [
        (photo, "frame"),
        (rendered, "rendered"),
        (error_picture(images.rgb, photo), "error"),
        (static, "static alone"),
        (depth_picture(images.static_depth), "depth of static"),
        *_part_tiles(images),
        (tinted(photo, images), "moving orange, actor blue"),
        (gray(images.dynamic), "weight of moving + actor"),
    ]
    if truth is not None:
        tiles.append((verdict(photo, images.dynamic, truth), "mask against truth"))
    return tiles


def _part_tiles(images: StreamImages) -> list[tuple[np.ndarray, str]]:
    """What the streams that are not static add to the rendered frame."""
    names = NAMES[1 : len(images.parts)]
    parts = stream_tiles(images)[2 : 2 + len(names)]
    captions = [f"{name} part" for name in names]
    return list(zip(parts, captions, strict=True))


def tiles_html(tiles: Sequence[tuple[np.ndarray, str]]) -> str:
    """Pictures with captions, five abreast."""
    cells = "".join(figures.captioned(enlarged(p), caption) for p, caption in tiles)
    return f'<div class="tiles">{cells}</div>'


def fixed_view(rendered: Rendered, fixed_frame: str | None) -> str:
    """A few times as one camera sees them; empty without `fixed/`."""
    body = ""
    for t in _telling(rendered, rendered.times(FIXED), FIXED, FIXED_TIMES):
        images = rendered.images(FIXED, t)
        rendered_tile, static, *_ = stream_tiles(images)
        tiles = [
            (rendered_tile, "rendered"),
            (static, "static alone"),
            *_part_tiles(images),
            (tinted(rendered_tile, images), "moving orange, actor blue"),
        ]
        clock = f"{escape(rendered.clip.frame_ids[t])}, {t / rendered.clip.fps:.1f} s"
        body += f"<h3>{clock}</h3>{tiles_html(tiles)}"
    if not body:
        return ""
    where = f", that of {fixed_frame}" if fixed_frame else ""
    lead = (
        f"Several times from one viewpoint{where}. The actor is tied to the camera, so "
        "it stands where it stood in its own frame."
    )
    return page.section("One viewpoint over time", lead, body)


def viewpoints(rendered: Rendered) -> str:
    """The static scene from viewpoints of its own; empty without `views/`."""
    names = rendered.names(VIEWS)
    picked = [names[n] for n in spread(len(names), MOST_VIEWS)]
    if not picked:
        return ""
    found = [(n, read_images(rendered.folder / VIEWS / f"{n}.npz")) for n in picked]
    colors = tiles_html([(stream_tiles(i)[1], n) for n, i in found])
    depth = tiles_html([(depth_picture(i.static_depth), n) for n, i in found])
    lead = "What never moves, without what does, as the field has learned it."
    body = colors + page.fold("Its depth, from near (red) to far (blue)", depth)
    return page.section("The static scene", lead, body)
