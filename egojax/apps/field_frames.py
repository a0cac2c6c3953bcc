"""Pictures of single frames of a decomposition: what is drawn of its streams.

A picture is uint8 (H, W, 3), RGB. `images` are what a field shows of one frame; a field
without a moving or an actor stream has black tiles there. In the pictures for people,
what moves is orange and the actor is blue, and text is drawn at the size that is shown.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from egojax.apps.looks import Color
from egojax.apps.viz import BACKDROP, paste, text_image
from egojax.data.stream_images import NAMES, StreamImages

COLORS: dict[str, Color] = {"moving": (245, 150, 20), "actor": (50, 150, 255)}
HIT: Color = (40, 185, 120)  # Of pixels that are found, found in error, and missed.
FALSE_ALARM: Color = (245, 150, 20)
MISSED: Color = (225, 60, 170)
THRESHOLD = 0.5  # Of a soft mask, where it is shown as yes or no.
LARGEST_ERROR = 0.25  # Of a colour, shown as bright as can be.
TILE_WIDTH = 320  # Pixels to which small tiles grow and large ones shrink.
GAP = 4  # Between tiles, pixels.


class Moment(NamedTuple):
    """What is known of one time."""

    photo: np.ndarray | None  # uint8 (H, W, 3); None = it cannot be read.
    own: StreamImages  # As its own camera sees it.
    fixed: StreamImages | None = None  # As one camera sees all times.


class Titles(NamedTuple):
    """What is written over the rows of a summary."""

    own: str  # Which frame this is.
    fixed: str = ""  # Whose viewpoint the fixed one is.
    fixed_time: str = ""  # The time that is shown from there.


# ------------------------------------------------------------------------ official


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Colours as published videos store them: at most 1, times 255, truncated.

    Differs: below 0 and NaN, which wrap around there, are 0.
    """
    clipped = np.clip(np.nan_to_num(image, nan=0.0), 0, 1).astype(np.float32)
    return (clipped * np.float32(255)).astype(np.uint8)


def stream_tiles(images: StreamImages) -> list[np.ndarray]:
    """Prediction, static alone, what moves and the actor as parts of the prediction."""
    tiles = [images.rgb, images.static_rgb, *images.parts[1:]]
    tiles += [np.zeros_like(images.rgb)] * (len(NAMES) + 1 - len(tiles))
    return [to_bytes(tile) for tile in tiles]


def official_frame(moment: Moment) -> np.ndarray:
    """A frame of the published summary video: two rows of five tiles.

    Target, prediction, static alone, moving part, actor part; above seen by the frame's
    own camera, below by the fixed one, its first tile black. The lower row is black
    without a fixed view.

    Returns:
      uint8 (2 H, 5 W, 3).

    Source: NeuralDiff, evaluation/video.py, cat_sample and convert_rgb.
    """
    black = np.zeros((*moment.own.rgb.shape[:2], 3), np.uint8)
    photo = black if moment.photo is None else moment.photo
    below = [black] * 4 if moment.fixed is None else stream_tiles(moment.fixed)
    rows = [[photo, *stream_tiles(moment.own)], [black, *below]]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def depth_picture(depth: np.ndarray) -> np.ndarray:
    """Depth (H, W) from its least (red) to its largest (blue).

    Source: NeuralDiff, utils.py, visualize_depth: NaN to 0, then OpenCV's map JET with
    red and blue exchanged.
    Differs: infinite depth is the largest that is not.
    """
    depth = np.nan_to_num(np.asarray(depth, np.float32), nan=0.0, posinf=np.inf)
    far = depth[np.isfinite(depth)].max(initial=0)
    depth = np.minimum(depth, far)
    low = depth.min(initial=far)
    share = (depth - low) / (far - low + np.float32(1e-8))
    return cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_JET)


# ---------------------------------------------------------------------- for people


def gray(mask: np.ndarray) -> np.ndarray:
    """A soft mask (H, W): black is 0, white is 1 and above."""
    return np.repeat(to_bytes(mask)[..., None], 3, axis=2)


def tinted(picture: np.ndarray, images: StreamImages) -> np.ndarray:
    """The picture with what moves in orange and the actor in blue, as much as it is."""
    out = 0.85 * picture.astype(np.float32)
    names = NAMES[1 : len(images.masks)]
    for name, mask in zip(names, images.masks[1:], strict=True):
        share = 0.7 * np.clip(np.nan_to_num(mask), 0, 1)[..., None]
        out = (1 - share) * out + share * np.array(COLORS[name], np.float32)
    return np.round(out).astype(np.uint8)


def verdict(picture: np.ndarray, soft: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where a soft mask (H, W), cut at one half, agrees with a true one (H, W).

    Found pixels are green, found in error orange, missed magenta, over gray.
    """
    found = soft > THRESHOLD
    level = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    out = np.repeat(0.6 * level[..., None].astype(np.float32), 3, axis=2)
    for color, at in (
        (HIT, found & truth),
        (FALSE_ALARM, found & ~truth),
        (MISSED, ~found & truth),
    ):
        out[at] = 0.4 * out[at] + 0.75 * np.array(color, np.float32)
    return np.round(np.minimum(out, 255)).astype(np.uint8)


def error_picture(image: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """How far colours in [0, 1] are from a photograph: black to bright, over channels.

    The brightest stands for `LARGEST_ERROR` and above.
    """
    gap = np.abs(np.clip(np.nan_to_num(image), 0, 1) - photo / np.float32(255)).mean(-1)
    level = to_bytes(gap / LARGEST_ERROR)
    return cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1]


def enlarged(picture: np.ndarray, width: int = TILE_WIDTH) -> np.ndarray:
    """The picture at another width, its shape kept."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    how = cv2.INTER_CUBIC if width >= picture.shape[1] else cv2.INTER_AREA
    return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=how)


def summary_frame(
    moment: Moment, titles: Titles, width: int = TILE_WIDTH
) -> np.ndarray:
    """A frame of the summary for people: own view, masks, fixed view, five tiles each.

    Args:
      moment: Without a fixed view the picture lacks the last row.
      titles: Written over the rows.
      width: Of a tile; its height follows.

    Returns:
      uint8, of the same size for all moments that have, or lack, a fixed view.
    """
    own = moment.own
    lost = np.full((*own.rgb.shape[:2], 3), BACKDROP, np.uint8)
    photo = lost if moment.photo is None else moment.photo
    kinds = ["rendered", "static alone", "moving part", "actor part"]
    seen = titles.own if moment.photo is not None else f"{titles.own}: cannot be read"
    rows = [
        ([photo, *stream_tiles(own)], [seen, *_named(kinds, own)]),
        (_mask_tiles(photo, own), _named_masks(own)),
    ]
    if moment.fixed is not None:
        text = _text_tile(lost, [titles.fixed, titles.fixed_time], width)
        tiles = [text, *stream_tiles(moment.fixed)]
        rows.append((tiles, ["fixed viewpoint", *_named(kinds, moment.fixed)]))
    return sheet(rows, width)


def _mask_tiles(photo: np.ndarray, images: StreamImages) -> list[np.ndarray]:
    masks = [images.dynamic, *images.masks]
    masks += [np.zeros_like(images.dynamic)] * (len(NAMES) + 1 - len(masks))
    return [tinted(photo, images), *map(gray, masks)]


def _named_masks(images: StreamImages) -> list[str]:
    names = ["moving + actor", "static", "moving", "actor"]
    soft = _named([f"weight: {name}" for name in names], images)
    return ["moving orange, actor blue", *soft]


def _named(titles: list[str], images: StreamImages) -> list[str]:
    """Titles of tiles; of streams that the field does not have, that."""
    missing = len(NAMES) - len(images.parts)
    kept = titles[: len(titles) - missing]
    return [*kept, *(f"no {name} stream" for name in NAMES[len(NAMES) - missing :])]


def _text_tile(like: np.ndarray, lines: Sequence[str], width: int) -> np.ndarray:
    tile = enlarged(like, width)
    size = max(11, width // 20)
    for n, line in enumerate(filter(None, lines)):
        paste(tile, text_image(line, size), size, size + n * 2 * size)
    return tile


def sheet(
    rows: Sequence[tuple[Sequence[np.ndarray], Sequence[str]]], width: int = TILE_WIDTH
) -> np.ndarray:
    """Rows of as many tiles each, a title over every tile."""
    size = max(11, width // 22)
    bar = 2 * size + GAP
    lines = []
    for tiles, titles in rows:
        large = [enlarged(tile, width) for tile in tiles]
        line = np.full(
            (bar + large[0].shape[0], len(large) * (width + GAP) - GAP, 3),
            BACKDROP,
            np.uint8,
        )
        for n, (tile, title) in enumerate(zip(large, titles, strict=True)):
            left = n * (width + GAP)
            cell = line[:, left : left + width]
            cell[bar:] = tile
            if title:
                paste(cell, text_image(title, size), 0, (bar - size) // 2 - size // 4)
        lines.append(line)
    return np.concatenate(lines)


# ---------------------------------------------------------------------------- subsets
