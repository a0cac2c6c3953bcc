"""What motion segmentation found, as the published system leaves it.

    FOLDER/soft/SEQ/FRAME.png    8-bit gray, 255 = surely moving
    FOLDER/soft/SEQ/FRAME.npz    float16: `foreground` (H, W); `components` (K, h, w)
    FOLDER/hard/SEQ/FRAME.png    palette: 0 = at rest, from 1 on what moves
    FOLDER/comp/SEQ/FRAME.png    palette: the component that each pixel is most of

Source: Karazija et al. 2024 (LRTL), `eval_utils.py`. Differs: hard masks are a palette
of labels in place of 0 and 255, so that several objects fit, and components are their
indices in place of colours; soft masks are rounded, and kept in full beside the PNG.
"""

import io
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from egojax.data import arrays, images
from egojax.errors import FrameError

THRESHOLD = 0.5  # A soft mask above it is one.
OFFICIAL = 255  # What moves in official hard masks.


class SoftMasks(NamedTuple):
    """Soft masks of one frame."""

    foreground: np.ndarray  # float32 (H, W), in [0, 1].
    components: np.ndarray | None  # float32 (K, h, w), summing to 1 in each pixel.


def write_frame(
    folder: pathlib.Path | str,
    sequence: str,
    frame: str,
    soft: SoftMasks,
    labels: np.ndarray | None = None,
) -> None:
    """Writes the files of one frame.

    Args:
      frame: Its name.
      labels: Integers (H, W) in 0..254; None = 1 where the foreground is above 0.5.

    Raises:
      ValueError: sizes that do not go together, values outside of [0, 1], or labels
        that do not fit.
      UsageError: the folder cannot be written to.
    """
    root = pathlib.Path(folder)
    if labels is None:
        labels = np.asarray(soft.foreground) > THRESHOLD
    _check(soft, labels)
    places = {name: root / name / sequence for name in ("soft", "hard", "comp")}
    if soft.components is None:
        del places["comp"]
    for place in places.values():
        arrays.make_folder(place)
    gray = np.rint(255 * soft.foreground).astype(np.uint8)
    images.write_image(places["soft"] / f"{frame}.png", gray)
    kept = {k: np.asarray(v, np.float16) for k, v in soft._asdict().items()}
    if soft.components is None:
        del kept["components"]
    arrays.write_npz(places["soft"] / f"{frame}.npz", kept)
    _write_palette(places["hard"] / f"{frame}.png", labels)
    if soft.components is not None:
        # Of a palette that begins with a colour: no component is the background.
        most, colors = soft.components.argmax(0), np.roll(davis_palette(), -1, axis=0)
        _write_palette(places["comp"] / f"{frame}.png", most, colors)


def _check(soft: SoftMasks, labels: np.ndarray) -> None:
    layers = [soft.foreground]
    if soft.components is not None:
        layers.append(soft.components)
    if [layer.ndim for layer in layers] != [2, 3][: len(layers)]:
        shapes = [layer.shape for layer in layers]
        raise ValueError(f"soft masks of {shapes}; expected (H, W) and (K, h, w)")
    if labels.shape != soft.foreground.shape:
        raise ValueError(f"labels {labels.shape} of a mask {soft.foreground.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < OFFICIAL:
        raise ValueError(f"labels {labels.min()}..{labels.max()}; expected 0..254")
    for layer in layers:
        # NaN, too, is in no range.
        if not ((layer >= 0) & (layer <= 1 + 1e-4)).all():
            raise ValueError("soft masks outside of [0, 1]")


def read_soft(path: pathlib.Path) -> SoftMasks:
    """Reads the soft masks of one frame, from its npz file.

    Raises:
      FrameError: missing, truncated, or another kind of file.
    """
    found = images.read_arrays(path)
    masks = [found.get("foreground"), found.get("components")]
    for mask, axes in zip(masks, (2, 3), strict=True):
        if mask is not None and (mask.ndim != axes or mask.dtype.kind != "f"):
            raise FrameError(
                f"{path}: {mask.dtype} {mask.shape}; expected floats of {axes} axes"
            )
    foreground, components = (m if m is None else m.astype(np.float32) for m in masks)
    if foreground is None:
        raise FrameError(f"{path}: expected an array `foreground` (H, W)")
    return SoftMasks(foreground, components)


def read_hard(path: pathlib.Path, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a hard mask, ours or the official 0 and 255: int32 labels, 0 = at rest.

    Raises:
      FrameError: unreadable, or not of the size `size_hw`.
    """
    labels = images.read_labels(path, size_hw)
    return np.where(labels == OFFICIAL, 1, labels).astype(np.int32)


# ------------------------------------------------------------------------- palettes


def _write_palette(
    path: pathlib.Path, labels: np.ndarray, colors: np.ndarray | None = None
) -> None:
    """Writes a label map as 8-bit palette PNG.

    Args:
      labels: Integers or booleans (H, W), in 0..255.
      colors: uint8 (256, 3), by label; None = those of DAVIS.
    """
    colors = davis_palette() if colors is None else colors
    image = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
    image.putpalette(colors.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "png")
    arrays.write_bytes(path, buffer.getvalue(), sync=False)


def davis_palette() -> np.ndarray:
    """The colours of labels in DAVIS, as in PASCAL VOC: uint8 (256, 3).

    Every third bit of a label, from its lowest on, is a bit of red, green or blue,
    from the highest on.
    """
    labels = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        channel, level = bit % 3, 7 - bit // 3
        colors[:, channel] |= (((labels >> bit) & 1) << level).astype(np.uint8)
    return colors
