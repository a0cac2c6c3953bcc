"""Any clip at another size: every layer that has pixels, lazily, and its cameras.

Outer corners stay on outer corners, so that a pixel of the new size is a box of old
ones. Colours, masks and soft weights take the mean of that box; masks are true where
more than half of it is. Labels, depths and flow take the one old pixel under the new
one's centre, all the same one: a mean would be of neither object.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.types import Boxes, Camera, Clip, Source, Tracks

# A tie is no majority, and rounding must not decide it.
HALF = 0.5 + 1e-4

Size = tuple[int, int]


def scale_size(size_hw: Size, scale: float) -> Size:
    """A size divided by `scale` and rounded down, at least one pixel.

    Raises:
      UsageError: the scale is not a number > 0, as in config.data.scale=2.
    """
    if not 0 < scale < math.inf:
        raise UsageError(f"scale={scale}: expected a number > 0; 2 halves each side")
    height, width = (max(1, int(side / scale)) for side in size_hw)
    return height, width


def resized(clip: Clip, size_hw: Size) -> Clip:
    """The clip at another size, its truth too; at its own size, the clip as it is.

    Frames that cannot be read still raise `FrameError`, None stays None. Segments keep
    their rows, also those whose last pixel is gone. Of `streams`, arrays of the clip's
    size (H, W), (H, W, C) or (K, H, W) are resized: bool as masks, floats as soft
    weights, uint8 (H, W, 3) as frames, other integers as labels, and whatever is named
    "...depth" as depth; others, such as poses, stay.

    Args:
      size_hw: Pixels; each side may shrink or grow.

    Raises:
      UsageError: a side below 1, or a clip without a size.
    """
    if min(size_hw) < 1 or min(clip.size_hw) < 1:
        (high, wide), (height, width) = clip.size_hw, size_hw
        raise UsageError(
            f"{clip.name}: {wide} x {high} pixels cannot become {width} x {height}"
        )
    if size_hw == clip.size_hw:
        return clip
    layers = {
        name: _through(source, functools.partial(LAYERS[name], clip.size_hw, size_hw))
        for name, source in clip.sources.items()
        if name in LAYERS
    }
    streams = {
        name: _through(source, functools.partial(_stream, name, clip.size_hw, size_hw))
        for name, source in clip.streams.items()
    }
    truth = None if clip.truth is None else resized(clip.truth, size_hw)
    return clip.replace(size_hw=size_hw, streams=streams, truth=truth, **layers)


def resized_camera(camera: Camera, size_hw: Size) -> Camera:
    """The camera of images that were resized; its lens does not count in pixels."""
    k = camera_ops.scale_intrinsics(
        np.asarray(camera.intrinsics), camera.size_hw, size_hw
    )
    return dataclasses.replace(camera, intrinsics=k, size_hw=size_hw)


def _through(source: Source[Any], fn: Callable[[Any], Any]) -> Source[Any]:
    return source.map(lambda value: None if value is None else fn(value))


# ----------------------------------------------- a frame of each layer: old, new, value


def _picture(old: Size, new: Size, image: np.ndarray) -> np.ndarray:
    return _resize(image, new, cv2.INTER_CUBIC)


def _camera(old: Size, new: Size, camera: Camera) -> Camera:
    return resized_camera(dataclasses.replace(camera, size_hw=old), new)


def _nearest(old: Size, new: Size, values: np.ndarray) -> np.ndarray:
    """The pixel under each new centre, of (H, W) or (H, W, C)."""
    rows, columns = (
        # Integers: (i + 0.5) * before / after, rounded down, without rounding errors.
        (2 * np.arange(after) + 1) * before // (2 * after)
        for before, after in zip(values.shape[:2], new, strict=True)
    )
    return values[rows[:, None], columns]


def _soft(old: Size, new: Size, values: np.ndarray) -> np.ndarray:
    """The mean of each box of (H, W) or (H, W, C); of bool, whether most of it is."""
    if values.dtype == np.bool_:
        return _resize(values.astype(np.float32), new, cv2.INTER_AREA) > HALF
    shares = _resize(values.astype(np.float32), new, cv2.INTER_AREA)
    return shares.astype(values.dtype)


def _stack(old: Size, new: Size, masks: np.ndarray) -> np.ndarray:
    """As `_soft`, of each of (K, H, W)."""
    out = np.zeros((len(masks), *new), masks.dtype)
    for layer, mask in zip(out, masks, strict=True):
        layer[:] = _soft(old, new, mask)
    return out


def _flow(old: Size, new: Size, flow: np.ndarray) -> np.ndarray:
    return (_nearest(old, new, flow) * _ratio_xy(old, new)).astype(flow.dtype)


def _boxes(old: Size, new: Size, boxes: Boxes) -> Boxes:
    ratio = np.tile(_ratio_xy(old, new), 2)
    return dataclasses.replace(boxes, xyxy=boxes.xyxy * ratio)


def _tracks(old: Size, new: Size, tracks: Tracks) -> Tracks:
    xy = np.asarray(tracks.tracks_xy)
    scaled = (xy * _ratio_xy(old, new)).astype(xy.dtype)
    return dataclasses.replace(tracks, tracks_xy=scaled)


def _stream(name: str, old: Size, new: Size, values: Any) -> Any:
    shape = np.shape(values)
    is_image = len(shape) in (2, 3) and shape[:2] == old
    is_stack = len(shape) == 3 and shape[1:] == old
    if not is_image and not is_stack:
        return values
    if name.endswith("depth"):
        by_image = _nearest
    elif values.dtype.kind in "bf":
        by_image = _soft
    elif values.dtype == np.uint8 and shape == (*old, 3):
        by_image = _picture
    else:
        by_image = _nearest
    if is_image:
        return by_image(old, new, values)
    return np.stack([by_image(old, new, layer) for layer in values])


# Layers that have no pixels stay as they are: segments, features, objects, views.
LAYERS: dict[str, Callable[[Size, Size, Any], Any]] = {
    "frames": _picture,
    "camera": _camera,
    "labels": _nearest,
    "boxes": _boxes,
    "depth": _nearest,
    "static_depth": _nearest,
    "masks": _stack,
    "actor": _soft,
    "flow_fwd": _flow,
    "flow_bwd": _flow,
    "tracks": _tracks,
}


def _ratio_xy(old: Size, new: Size) -> np.ndarray:
    return np.array([new[1] / old[1], new[0] / old[0]])


def _resize(image: np.ndarray, size_hw: Size, grow: int) -> np.ndarray:
    """Boxes along a side that shrinks, `grow` along one that grows."""
    # OpenCV takes means only where no side grows.
    height, width = (min(pair) for pair in zip(image.shape[:2], size_hw, strict=True))
    out = image
    if (height, width) != image.shape[:2]:
        out = cv2.resize(out, (width, height), interpolation=cv2.INTER_AREA)
    if (height, width) != size_hw:
        out = cv2.resize(out, size_hw[::-1], interpolation=grow)
    return out.reshape(*size_hw, *image.shape[2:])
