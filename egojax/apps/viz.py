"""Pictures of tracking: segments over frames, before and after side by side, as video.

Everything is drawn on the host. A segment's map is filled at the frame's own size;
outlines and names are drawn at the size that is shown, so that they stay crisp.
"""

import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from egojax.apps.looks import NEUTRAL, Color, Look, Looks, color_lut, looks_of
from egojax.data.stream import host_frames
from egojax.data.video import VideoWriter
from egojax.ops import segments
from egojax.types import Boxes, Clip, SkippedFrame, TrackTable

PANE_WIDTH = 640  # Pixels to which small frames grow and large ones shrink.
FILL = 0.45  # Opacity of the inside of a segment.
SUBPIXEL = 4  # Fractional bits of outline coordinates.
BACKDROP: Color = (24, 26, 30)  # Of captions, names, and frames without a picture.
INK: Color = (240, 242, 245)


class Shape(NamedTuple):
    """The outline of one segment."""

    id: int
    outlines: list[np.ndarray]  # float32 (n, 2) each, pixels of the frame.


# ------------------------------------------------------------------------- one frame


def draw_segments(
    frame: np.ndarray,
    labels: np.ndarray | None,
    shown: Mapping[int, int],
    look: Look,
    *,
    boxes: Boxes | None = None,
    width: int = PANE_WIDTH,
    fill: float = FILL,
) -> np.ndarray:
    """Draws segments with fill, outline and name.

    Args:
      frame: uint8 (H, W, 3).
      labels: int (H, W), ids of segments; None = use the boxes.
      shown: The identity by which a segment is coloured and named; 0 = none, drawn
        neutral. Segments that are not in it are not drawn.
      look: Of these identities.
      boxes: Drawn as rectangles where there are no labels.
      width: Of the picture that comes back; its height follows.
      fill: Opacity of the inside of a segment.

    Returns:
      uint8 (h, width, 3).
    """
    color = {
        segment: look.color.get(identity, NEUTRAL)
        for segment, identity in shown.items()
    }
    canvas = frame
    if labels is not None:
        ids, ranked = segments.rank_labels(labels)
        canvas = _fill(frame, ids, ranked, color, fill)
        shapes = [s for s in _shapes(ids, ranked) if s.id in shown]
    else:
        shapes = [s for s in _rectangles(boxes) if s.id in shown]
    scale = width / frame.shape[1]
    canvas = _resize(canvas, width)
    for shape in shapes:
        _outline(canvas, shape, color[shape.id], scale)
    _write_names(canvas, shapes, shown, look, scale)
    return canvas


def _fill(
    frame: np.ndarray,
    ids: np.ndarray,
    ranked: np.ndarray,
    color: Mapping[int, Color],
    fill: float,
) -> np.ndarray:
    lut = color_lut(ids, color)
    drawn = np.array([0, *(int(i) in color for i in ids)], np.uint8)
    blend = cv2.addWeighted(frame, 1 - fill, lut[ranked], fill, 0.0)
    out = frame.copy()
    cv2.copyTo(blend, drawn[ranked], out)
    return out


def _resize(image: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if width == image.shape[1]:
        return image.copy()
    smaller = width < image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=how)


def _shapes(ids: np.ndarray, ranked: np.ndarray) -> Iterator[Shape]:
    """Outlines through the centres of the border pixels of each segment."""
    table = segments.measure_ranked(ranked, len(ids))
    for rank, (i, (x0, y0, x1, y1)) in enumerate(zip(ids, table[-1], strict=True), 1):
        mask = (ranked[y0:y1, x0:x1] == rank).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        at = np.array([x0 + 0.5, y0 + 0.5], np.float32)
        outlines = [c.reshape(-1, 2).astype(np.float32) + at for c in found]
        yield Shape(int(i), outlines)


def _rectangles(boxes: Boxes | None) -> Iterator[Shape]:
    if boxes is None:
        return
    for i, (x0, y0, x1, y1) in zip(boxes.ids, boxes.xyxy, strict=True):
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
        yield Shape(int(i), [corners])


def _outline(canvas: np.ndarray, shape: Shape, color: Color, scale: float) -> None:
    """A dark line below a coloured one, so that it stands out on any background."""
    # OpenCV counts from the centre of the first pixel.
    points = [
        np.round((o * scale - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
        for o in shape.outlines
    ]
    for ink, thickness in ((BACKDROP, 3), (color, 2)):
        cv2.polylines(canvas, points, True, ink, thickness, cv2.LINE_AA, SUBPIXEL)


def _write_names(
    canvas: np.ndarray,
    shapes: list[Shape],
    shown: Mapping[int, int],
    look: Look,
    scale: float,
) -> None:
    """A tag at each segment, where no other one is if there is such a place."""
    taken: list[tuple[int, int, int, int]] = []
    size = max(11, round(canvas.shape[1] / 48))
    for shape in sorted(shapes, key=_extent, reverse=True):
        name = look.name.get(shown[shape.id])
        if name is None or not shape.outlines:
            continue
        tag = text_image(name, size, look.color.get(shown[shape.id], NEUTRAL))
        at = _free_place(shape, scale, tag.shape[:2], canvas.shape[:2], taken)
        if at is not None:
            taken.append((*at, at[0] + tag.shape[1], at[1] + tag.shape[0]))
            paste(canvas, tag, *at)


def _extent(shape: Shape) -> float:
    if not shape.outlines:
        return 0.0
    points = np.concatenate(shape.outlines)
    return float(np.prod(np.ptp(points, axis=0) + 1))


def _free_place(
    shape: Shape,
    scale: float,
    tag_hw: tuple[int, int],
    size_hw: tuple[int, int],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int] | None:
    """Above the segment, below it, on it, or beside it; None if all is taken."""
    points = np.concatenate(shape.outlines) * scale
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    (height, width), (bottom, right) = tag_hw, size_hw
    middle_x, middle_y = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
    places = [
        (middle_x, y0 - height - 2),
        (middle_x, y1 + 2),
        (middle_x, middle_y),
        (x1 + 2, middle_y),
        (x0 - width - 2, middle_y),
    ]
    for left, top in places:
        x = int(np.clip(left, 0, max(0, right - width)))
        y = int(np.clip(top, 0, max(0, bottom - height)))
        box = (x, y, x + width, y + height)
        if not any(_overlap(box, other) for other in taken):
            return x, y
    return None


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# ------------------------------------------------------------------------------ text


@functools.lru_cache(maxsize=4096)
def text_image(text: str, size: int, swatch: Color | None = None) -> np.ndarray:
    """A line of text on a dark translucent ground, uint8 (h, w, 4).

    Args:
      size: Of the letters, in pixels.
      swatch: Colour of a mark before the text.
    """
    from PIL import Image, ImageDraw

    font = _font(size)
    pad = max(2, size // 4)
    left = pad + (size if swatch is not None else 0)
    width, height = round(font.getlength(text)) + left + pad, size + 2 * pad
    image = Image.new("RGBA", (width, height), (*BACKDROP, 0))
    draw = ImageDraw.Draw(image)
    edge = (width - 1, height - 1)
    draw.rounded_rectangle((0, 0, *edge), radius=pad + 1, fill=(*BACKDROP, 200))
    if swatch is not None:
        mark = (
            pad,
            height / 2 - size * 0.32,
            pad + size * 0.64,
            height / 2 + 0.32 * size,
        )
        draw.rounded_rectangle(mark, radius=2, fill=(*swatch, 255))
    draw.text((left, height / 2), text, font=font, fill=(*INK, 255), anchor="lm")
    return np.asarray(image)


@functools.cache
def _font(size: int) -> Any:
    """DejaVu Sans, which Matplotlib carries: it has more letters than Pillow's own."""
    import matplotlib
    from PIL import ImageFont

    path = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def paste(canvas: np.ndarray, image: np.ndarray, x: int, y: int) -> None:
    """Lays an RGBA image over a canvas, cut off at its border."""
    height, width = (
        min(image.shape[0], canvas.shape[0] - y),
        min(image.shape[1], canvas.shape[1] - x),
    )
    if height <= 0 or width <= 0:
        return
    part = image[:height, :width]
    alpha = part[..., 3:].astype(np.float32) / 255
    under = canvas[y : y + height, x : x + width]
    under[...] = np.round(alpha * part[..., :3] + (1 - alpha) * under).astype(np.uint8)


# --------------------------------------------------------------------- whole clips


class Scribe:
    """Draws the frames of a clip, before and after tracking."""

    def __init__(self, clip: Clip, table: TrackTable, looks: Looks | None = None):
        self.clip = clip
        self.table = table
        self.looks = looks or looks_of(table, clip.category_names)
        self._bounds = np.searchsorted(
            table.frame_idx, np.arange(clip.num_frames + 1), side="left"
        )
        self._ids_before = _distinct_so_far(table, table.segment_id, clip.num_frames)
        self._ids_after = _distinct_so_far(table, table.track_id, clip.num_frames)

    @property
    def layers(self) -> list[str]:
        """What the clip has of the layers that are drawn."""
        masks = "labels" if self.clip.labels is not None else "boxes"
        return [n for n in ("frames", masks) if n in self.clip.sources]

    def tracks(self, t: int) -> dict[int, int]:
        """Segment id to track id in frame t."""
        rows = slice(self._bounds[t], self._bounds[t + 1])
        columns = self.table.segment_id[rows], self.table.track_id[rows]
        return dict(zip(*(c.tolist() for c in columns), strict=True))

    def after(
        self, t: int, layers: Mapping[str, Any], width: int = PANE_WIDTH
    ) -> np.ndarray:
        """Frame t with its tracks."""
        return self._pane(layers, self.tracks(t), self.looks.after, width)

    def before(
        self, t: int, layers: Mapping[str, Any], width: int = PANE_WIDTH
    ) -> np.ndarray:
        """Frame t with its 2D ids."""
        shown = {segment: segment for segment in self.tracks(t)}
        return self._pane(layers, shown, self.looks.before, width)

    def side_by_side(
        self, t: int, layers: Mapping[str, Any], width: int = PANE_WIDTH
    ) -> np.ndarray:
        """Both, under captions with the number of ids that were given so far."""
        panes = [self.before(t, layers, width), self.after(t, layers, width)]
        clock = f"{self.clip.frame_ids[t]}   {t / self.clip.fps:.1f} s"
        return self._page(
            panes,
            f"Before: 2D ids, {self._ids_before[t]} so far",
            f"After: tracks, {self._ids_after[t]} so far",
            clock,
        )

    def unreadable(self, t: int, reason: str, width: int = PANE_WIDTH) -> np.ndarray:
        """What stands in for a frame that was skipped."""
        height = max(1, round(self.clip.size_hw[0] * width / self.clip.size_hw[1]))
        pane = np.full((height, width, 3), BACKDROP, np.uint8)
        both = self._page([pane, pane.copy()], "Skipped", "", self.clip.frame_ids[t])
        text = text_image(reason, max(11, width // 48))
        paste(both, text, 10, both.shape[0] // 2)
        return both

    def _pane(
        self, layers: Mapping[str, Any], shown: dict[int, int], look: Look, width: int
    ) -> np.ndarray:
        frame = layers.get("frames")
        if frame is None:
            frame = np.full((*self.clip.size_hw, 3), BACKDROP, np.uint8)
        labels, boxes = layers.get("labels"), layers.get("boxes")
        return draw_segments(frame, labels, shown, look, boxes=boxes, width=width)

    def _page(
        self, panes: list[np.ndarray], left: str, right: str, clock: str
    ) -> np.ndarray:
        height, width = panes[0].shape[:2]
        size = max(11, width // 42)
        bar, gap = 2 * size, 4
        page = np.full((bar + height, 2 * width + gap, 3), BACKDROP, np.uint8)
        page[bar:, :width], page[bar:, width + gap :] = panes
        top = (bar - size) // 2 - max(2, size // 4)
        paste(page, text_image(left, size), 4, top)
        paste(page, text_image(right, size), width + gap + 4, top)
        text = text_image(clock, size)
        paste(page, text, page.shape[1] - text.shape[1] - 4, top)
        return page


def _distinct_so_far(table: TrackTable, ids: np.ndarray, num_frames: int) -> np.ndarray:
    """How many ids occur up to each frame; 0 is none."""
    rows = np.flatnonzero(ids > 0)
    _, first = np.unique(ids[rows], return_index=True)
    new = np.bincount(table.frame_idx[rows[first]], minlength=num_frames)
    return np.cumsum(new)


def write_overlay(
    path: pathlib.Path,
    clip: Clip,
    table: TrackTable,
    *,
    width: int = PANE_WIDTH,
    progress: Callable[[int, int], None] | None = None,
) -> list[SkippedFrame]:
    """Writes the video of a clip before and after tracking, side by side.

    A few frames are in memory, whatever the length of the clip. Frames that cannot be
    read are shown as such.

    Args:
      width: Pixels of one of the two pictures.
      progress: Told after each frame.

    Returns:
      The frames that could not be read.
    """
    scribe, skipped = Scribe(clip, table), []
    with VideoWriter(path, clip.fps) as video:
        for row in host_frames(clip, scribe.layers):
            if row.skipped is not None:
                skipped.append(row.skipped)
                page = scribe.unreadable(row.frame_idx, row.skipped.reason, width)
            else:
                page = scribe.side_by_side(row.frame_idx, row.layers, width)
            video.write(page)
            if progress is not None:
                progress(row.frame_idx + 1, clip.num_frames)
    return skipped
