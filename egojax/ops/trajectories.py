"""Point trajectories: smoothing over time, windows, and masks that agree along them.

Source: Karazija et al. 2024 (LRTL), `datasets/flow_pair_detectron.py` and
`losses/temporal_smoothing_loss.py`.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from egojax.ops.image import sample_masks
from egojax.types import ArrayLike, typed

Ends = Literal["shift", "zeros"]


class Window(NamedTuple):
    """Frames around one."""

    frames: np.ndarray  # int64 (2 half + 1,); -1 = none, all zeros.
    own: int  # Where that one is in the window.


@jax.jit(static_argnames="length")
@typed
def smooth_tracks(
    tracks: Float[ArrayLike, "T N 2"], length: int = 11
) -> Float[Array, "T N 2"]:
    """The moving average over time; near the ends, of the frames that there are.

    Args:
      tracks: Pixels.
      length: Frames, odd; 0 or 1 = as they are.

    Raises:
      ValueError: an even length.
    """
    tracks = jnp.asarray(tracks)
    if length < 2:
        return tracks
    if length % 2 == 0:
        raise ValueError(f"length={length}; expected an odd number of frames")
    pad = (length // 2, length // 2), (0, 0), (0, 0)

    def total(x: Array) -> Array:
        size = (length, 1, 1)
        return lax.reduce_window(x, 0.0, lax.add, size, (1, 1, 1), pad)

    return total(tracks) / total(jnp.ones((len(tracks), 1, 1), tracks.dtype))


def window(
    num_frames: int, frame: int, half: int = 20, *, ends: Ends = "shift"
) -> Window:
    """The 2 half + 1 frames around one.

    Args:
      num_frames: Of the clip.
      frame: From 0.
      half: Frames on each side.
      ends: Where the window leaves the clip: "shift" moves it inside, and reflects a
        clip that is too short at its ends; "zeros" keeps the frame in the middle.

    Raises:
      ValueError: no such frame, or the clip is too short to be reflected.
    """
    if not 0 <= frame < num_frames:
        raise ValueError(f"frame {frame} of {num_frames}")
    size = 2 * half + 1
    if ends == "zeros":
        frames = np.arange(frame - half, frame + half + 1)
        return Window(np.where((frames >= 0) & (frames < num_frames), frames, -1), half)
    if num_frames >= size:
        first = min(max(frame - half, 0), num_frames - size)
        return Window(np.arange(first, first + size), frame - first)
    before, after = (size - num_frames) // 2, -(-(size - num_frames) // 2)
    if after >= num_frames:
        raise ValueError(
            f"{num_frames} frames; a window of {size} needs {after + 1} or more, or "
            "zeros at its ends"
        )
    frames = np.pad(np.arange(num_frames), (before, after), mode="reflect")
    return Window(frames, before + frame)


@jax.jit(static_argnames=("size_hw", "published"))
@typed
def places(
    points_xy: Float[ArrayLike, "*batch 2"],
    size_hw: tuple[int, int],
    *,
    published: bool = False,
) -> Float[Array, "*batch 2"]:
    """Pixels as places in [-1, 1], as `sample_masks` takes them.

    Args:
      points_xy: (0, 0) is the outer corner of the first pixel.
      size_hw: Of the image that the pixels are of, which may be larger than the masks.
      published: (0, 0) is the centre of the first pixel instead, and -1 and 1 are the
        centres of the outer ones, although masks are then looked up as if they were the
        edges: up to half a pixel beside the point.
    """
    size = jnp.asarray(size_hw[::-1], jnp.float32) - published
    points_xy = jnp.asarray(points_xy)
    return 2 * points_xy / size[(None,) * (points_xy.ndim - 1)] - 1


@jax.jit
@typed
def mask_difference(
    masks: Float[ArrayLike, "K H W"],
    later: Float[ArrayLike, "K H W"],
    loc: Float[ArrayLike, "N 2"],
    later_loc: Float[ArrayLike, "N 2"],
    visible: Bool[ArrayLike, " N"] | Float[ArrayLike, " N"],
) -> Float[Array, ""]:
    """How differently two frames' masks see the same points: 0 = alike, at most K.

    Args:
      masks, later: Soft masks of two frames.
      loc, later_loc: Where the points are in each (see `sample_masks`).
      visible: Weights of the points; 0 where one is hidden in either frame.

    Returns:
      The weighted mean over points of the sum over masks of squared differences; 0
      without a visible point.
    """
    gap = sample_masks(masks, loc) - sample_masks(later, later_loc)
    weight = jnp.asarray(visible, gap.dtype)
    return (weight * (gap**2).sum(0)).sum() / jnp.maximum(weight.sum(), 1e-6)
