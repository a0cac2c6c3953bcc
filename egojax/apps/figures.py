"""The timeline and the map of the report, as fragments of HTML with inline SVG.

Shapes are SVG that stretches with the page (strokes keep their width), all text is
HTML, so that it keeps its size on a phone and can be selected. Tooltips are `<title>`
elements and need no script. The classes are those of `page.STYLE`.
"""

import base64
import html
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from egojax.apps.looks import Color, Look, Looks, css
from egojax.apps.scene import CameraPath, Surface, Trail, level_axes
from egojax.apps.timeline import Run, Timeline

BAR_TOPS = (0, 12)  # Of the bars before and after in a row of the timeline.
BAR = 9  # Their height, pixels.
FIRST_ROWS = 40  # Rows of a timeline that are open at once.
MOST_NAMES = 40  # Names written on the map.
MAP_CELLS = 320  # Of the footprint's longer side.
SHADES = (110, 190)  # Of the lowest and the highest point without a colour.


Box = tuple[float, float, float, float]  # Left, top, right, bottom, percent of a map.
PHONE = 2.1  # How much larger names are against a map as wide as a phone.


def escape(text: Any) -> str:
    """Text as HTML shows it."""
    return html.escape(str(text))


def encoded(image: np.ndarray, kind: str = "jpg", quality: int = 82) -> bytes:
    """An RGB or RGBA image as a file of that kind.

    Raises:
      ValueError: the image cannot be encoded so.
    """
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpg" else []
    done, data = cv2.imencode(f".{kind}", cv2.cvtColor(image, order), options)
    if not done:
        raise ValueError(f"cannot encode {image.shape} as {kind}")
    return data.tobytes()


def data_uri(image: np.ndarray, kind: str = "jpg", quality: int = 82) -> str:
    """An RGB or RGBA image as the value of a `src` attribute; raises as `encoded`."""
    mime = "jpeg" if kind == "jpg" else kind
    data = base64.b64encode(encoded(image, kind, quality)).decode()
    return f"data:image/{mime};base64,{data}"


def captioned(image: np.ndarray, caption: str, quality: int = 88) -> str:
    """An RGB image with a line of text under it."""
    uri, text = data_uri(image, quality=quality), escape(caption)
    return (
        f'<figure><img src="{uri}" alt="{text}" loading="lazy">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def swatch(color: Color) -> str:
    """A square of a colour, to stand before a name."""
    return f'<i class="swatch" style="background:{css(color)}"></i>'


def stretched(width: float, height: float, body: str, label: str) -> str:
    """SVG that fills its box, whatever its shape."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(label)}">{body}</svg>'
    )


# -------------------------------------------------------------------------- timeline


def timeline_figure(
    timeline: Timeline,
    looks: Looks,
    names: Mapping[int, str],
    fps: float,
) -> str:
    """A row per object: its 2D ids above, its tracks below, gaps left open.

    Args:
      names: Of the rows' keys.
    """
    rows = [_timeline_row(row, timeline, looks, names) for row in timeline.rows]
    axis = _time_axis(timeline.num_columns * timeline.frames_per_column, fps)
    first, rest = rows[:FIRST_ROWS], rows[FIRST_ROWS:]
    more = ""
    if rest:
        more = (
            f"<details><summary>{len(rest)} more objects</summary>"
            f'<div class="timeline">{"".join(rest)}{axis}</div></details>'
        )
    return f'<div class="timeline">{"".join(first)}{axis}</div>{more}'


def _timeline_row(row, timeline: Timeline, looks: Looks, names: Mapping[int, str]):
    name = names.get(row.key, f"object {row.key}")
    bars = _bars(row.before, looks.before, timeline, BAR_TOPS[0], "2D id")
    bars += _bars(row.after, looks.after, timeline, BAR_TOPS[1], "track")
    count = len({run.id for run in row.before}), len({run.id for run in row.after})
    label = f"{name}: {count[0]} ids before, {count[1]} after"
    svg = stretched(timeline.num_columns, BAR_TOPS[1] + BAR, bars, label)
    return (
        f'<div class="row"><div class="name" title="{escape(label)}">{escape(name)}'
        f'</div><div class="bars">{svg}</div><div class="count">{count[0]} → '
        f"{count[1]}</div></div>"
    )


def _bars(runs: list[Run], look: Look, timeline: Timeline, top: int, kind: str) -> str:
    """One path a colour, with the name and the frames of the id as its tooltip."""
    thinnest = timeline.num_columns / 700
    by_id: dict[int, list[Run]] = {}
    for run in runs:
        by_id.setdefault(run.id, []).append(run)
    out = []
    for i, own in by_id.items():
        path = "".join(
            f"M{run.start} {top}h{max(run.stop - run.start, thinnest):.4g}v{BAR}H{run.start}"
            for run in own
        )
        color = css(look.color[i]) if i in look.color else "var(--faint)"
        name = look.name.get(i, "no track")
        first, last = (
            round(own[0].start * timeline.frames_per_column),
            max(0, round(own[-1].stop * timeline.frames_per_column) - 1),
        )
        tip = f"{kind} {i} ({name}), frames {first} to {last}"
        out.append(
            f'<path d="{path}" fill="{color}"><title>{escape(tip)}</title></path>'
        )
    return "".join(out)


def _time_axis(num_frames: float, fps: float) -> str:
    seconds = num_frames / fps
    step = next(
        (s for s in (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if seconds / s <= 8),
        1800,
    )
    marks = [
        f'<span style="left:{100 * at / seconds:.2f}%">{_clock(at)}</span>'
        for at in np.arange(0, seconds * 0.97, step)
    ]
    return f'<div class="row axis"><div></div><div class="bars">{"".join(marks)}</div></div>'


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


# ------------------------------------------------------------------------------- map


def map_figure(
    path: CameraPath | None,
    trails: Mapping[int, Trail],
    look: Look,
    surface: Surface | None,
    up: np.ndarray,
) -> str:
    """The scene from above: footprint, camera path, trails and last places."""
    axes = level_axes(up)
    centers = np.zeros((0, 3)) if path is None else path.centers @ axes.T
    flat = {i: trail.at @ axes.T for i, trail in trails.items()}
    if surface is not None:
        floor, colors = surface.points @ axes.T, surface.colors
        if len(centers):
            # What is above the eyes (ceilings, cupboards) would hide the rest.
            lower = floor[:, 2] < np.median(centers[:, 2])
            floor, colors = floor[lower], None if colors is None else colors[lower]
        surface = Surface(floor, colors)
    low, high = _frame_of(centers, list(flat.values()), surface)
    size = high - low

    def place(xy: np.ndarray) -> np.ndarray:
        """Metres to units of the drawing: y points down there."""
        return (xy[..., :2] - low) * [1, -1] + [0, size[1]]

    body = "" if surface is None else _footprint(surface, low, size)
    body += _camera_marks(path, axes, place, size)
    body += "".join(_trail_mark(i, place(at), look) for i, at in flat.items())
    names = _map_names({i: place(at[-1:])[0] for i, at in flat.items()}, look, size)
    svg = stretched(size[0], size[1], body, "the scene from above")
    return (
        f'<div class="map" style="aspect-ratio:{size[0]:.3f}/{size[1]:.3f}">{svg}{names}'
        f"{_scale_bar(size[0])}</div>"
    )


def _frame_of(
    centers: np.ndarray, trails: list[np.ndarray], surface: Surface | None
) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the map, metres: all that moved, and most of the surface near it."""
    parts = [centers[:, :2], *(at[:, :2] for at in trails)]
    moved = np.concatenate([p for p in parts if len(p)])
    low, high = np.percentile(moved, 1, axis=0), np.percentile(moved, 99, axis=0)
    reach = max(1.0, 0.5 * float((high - low).max()))
    if surface is not None and len(surface.points):
        points = surface.points[:, :2]
        near = ((points > low - reach) & (points < high + reach)).all(1)
        if near.sum() > 100:
            low = np.minimum(low, np.percentile(points[near], 1, axis=0))
            high = np.maximum(high, np.percentile(points[near], 99, axis=0))
    margin = 0.05 * float((high - low).max()) + 0.05
    low, high = low - margin, high + margin
    # Neither a ribbon nor a tower.
    lack = np.maximum([0.9, 0.45] * (high - low)[::-1] - (high - low), 0)
    return low - lack / 2, high + lack / 2


def _footprint(surface: Surface, low: np.ndarray, size: np.ndarray) -> str:
    """The topmost points, a cell each, as a small picture."""
    cell = float(size.max()) / MAP_CELLS
    width, height = (max(1, int(np.ceil(s / cell))) for s in size)
    order = np.argsort(surface.points[:, 2], kind="stable")
    points = surface.points[order]
    column = np.floor((points[:, 0] - low[0]) / cell).astype(int)
    row = height - 1 - np.floor((points[:, 1] - low[1]) / cell).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    if surface.colors is None:
        shade = np.interp(np.arange(len(points)), [0, max(1, len(points) - 1)], SHADES)
        colors = np.repeat(shade[:, None], 3, axis=1)
    else:
        colors = surface.colors[order]
    image = np.zeros((height, width, 4), np.uint8)
    top = np.full((height, width), -np.inf)
    image[row[inside], column[inside], :3] = colors[inside]
    image[row[inside], column[inside], 3] = 255
    top[row[inside], column[inside]] = points[inside, 2]
    for _ in range(2):
        image, top = _spread(image, top)
    return (
        f'<image href="{data_uri(image, "png")}" '
        f'width="{width * cell:.3f}" height="{height * cell:.3f}" '
        f'y="{size[1] - height * cell:.3f}" preserveAspectRatio="none" '
        'class="footprint"/>'
    )


def _spread(image: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each cell takes the highest point of its neighbourhood: points leave gaps."""
    height, width = top.shape
    above = np.pad(top, 1, constant_values=-np.inf)
    pixels = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    out, best = image.copy(), top.copy()
    for y, x in np.ndindex(3, 3):
        other = above[y : y + height, x : x + width]
        higher = other > best
        out[higher] = pixels[y : y + height, x : x + width][higher]
        best[higher] = other[higher]
    return out, best


def _camera_marks(path: CameraPath | None, axes, place, size: np.ndarray) -> str:
    """The path, where it looked, its start (open) and its end (full)."""
    if path is None:
        return ""
    at = place(path.centers @ axes.T)
    looks = path.c2w[:, :3, 2] @ axes.T
    picked = np.linspace(0, len(at) - 1, min(24, len(at))).astype(int)
    length = 0.03 * size.max()
    rays = "".join(
        f"M{xy_text(at[k])}l{length * looks[k, 0]:.3f} {-length * looks[k, 1]:.3f}"
        for k in picked
    )
    return (
        f'<path class="halo" d="{polyline(at)}"/><path class="camera" '
        f'd="{polyline(at)}"><title>camera path</title></path>'
        f'<path class="gaze" d="{rays}"/>'
        f'<path class="dot start" d="M{xy_text(at[0])}h0"><title>camera, first frame</title>'
        f'</path><path class="dot hole" d="M{xy_text(at[0])}h0"/>'
        f'<path class="dot start" d="M{xy_text(at[-1])}h0"><title>camera, last frame</title>'
        "</path>"
    )


def _trail_mark(i: int, at: np.ndarray, look: Look) -> str:
    name, color = escape(look.name.get(i, i)), css(look.color[i])
    line = f'<path class="trail" d="{polyline(at)}" stroke="{color}"/>'
    end = f"M{xy_text(at[-1])}h0"
    return (
        f"<g><title>{name}</title>{line if len(at) > 1 else ''}"
        f'<path class="dot rim" d="{end}"/>'
        f'<path class="dot" d="{end}" stroke="{color}"/></g>'
    )


def _map_names(ends: Mapping[int, np.ndarray], look: Look, size: np.ndarray) -> str:
    """Names beside the last places, where they do not cover each other."""
    taken: list[Box] = []
    on_phone: list[Box] = []  # There, names are larger beside the map.
    out = []
    for i in sorted(ends)[:MOST_NAMES]:
        name = look.name.get(i, str(i))
        x, y = 100 * ends[i] / size
        if not (0 <= x <= 100 and 0 <= y <= 100):
            continue
        # In percent of a map 900 pixels wide.
        wide, high = 1.4 + 0.78 * len(name), 2.0 * size[0] / size[1]
        for left, sign in ((x + 0.8, 1), (x - 0.8 - wide, -1)):
            box = (left, y - high / 2, left + wide, y + high / 2)
            if not _is_free(box, taken):
                continue
            taken.append(box)
            far = left + (PHONE - 1) * wide * min(sign, 0)
            large = (
                far,
                y - PHONE * high / 2,
                far + PHONE * wide,
                y + PHONE * high / 2,
            )
            kind = "" if _is_free(large, on_phone) else ' class="desk"'
            if not kind:
                on_phone.append(large)
            at = f"left:{left:.2f}%" if sign > 0 else f"right:{100 - box[2]:.2f}%"
            out.append(f'<span{kind} style="{at};top:{y:.2f}%">{escape(name)}</span>')
            break
    return "".join(out)


def _is_free(box: Box, taken: list[Box]) -> bool:
    """Within the map from left to right, and clear of the others."""
    return (
        box[0] > 0
        and box[2] < 100
        and all(
            box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1]
            for b in taken
        )
    )


def _scale_bar(width: float) -> str:
    metres = next(
        (m for m in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if m / width > 0.1), 100
    )
    share = 100 * metres / width
    return f'<div class="scale" style="width:{share:.2f}%">{metres:g} m</div>'


def polyline(points: np.ndarray) -> str:
    """Points (n, 2) as the data of an SVG path."""
    return "M" + "L".join(xy_text(p) for p in points)


def xy_text(point: np.ndarray) -> str:
    """A point as SVG writes it."""
    return f"{point[0]:.3f} {point[1]:.3f}"
