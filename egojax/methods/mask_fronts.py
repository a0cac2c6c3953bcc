"""Which of the K masks of a clip are of what moves, without labels (host).

A network's mask k means the same thing in all frames of a clip, so what is behind is
chosen once, by what all frames say together: the mask, or the group of masks that look
alike, that has most of the images' borders. Of the others those are in front whose flow
the motion of what is behind does not explain.

Source: Karazija et al. 2024 (LRTL), `eval_utils.py`, for groups of masks that look
alike. Differs: of the clip, not of each frame; the border and the motion choose, where
there the true labels do.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from egojax.methods.dense_flow import under
from egojax.methods.mask_merging import mask_affinity, two_groups
from egojax.methods.motion_groups import UNKNOWN
from egojax.ops.flow import POWERS, quadratic_flow
from egojax.types import ArrayLike, PointTracks, typed

TINY = 1e-9
LEAST_SHARE = 1e-3  # Of the image: what a mask has to have, to have a motion.


class FrontEvidence(NamedTuple):
    """What one frame says of its K masks."""

    border: np.ndarray  # float64 (K,), pixels of the image's border.
    area: np.ndarray  # float64 (K,), pixels.
    # float64 (K, K): by how much the motion of mask j is worse for the flow of mask i
    # than its own, root mean square; NaN without flow.
    excess: np.ndarray
    alike: np.ndarray | None = None  # float64 (K, K), see `mask_affinity`.


def front_evidence(
    masks: Float[ArrayLike, "K H W"],
    flow: Float[ArrayLike, "H W 2"] | None = None,
    features: Float[ArrayLike, "h w C"] | None = None,
) -> FrontEvidence:
    """What a frame says of its masks.

    Args:
      masks: Soft; they sum to 1.
      flow: Per frame of time, in any unit; None = the frame has none.
      features: See `mask_affinity`.
    """
    given = np.asarray(masks, np.float64)
    area = given.sum((1, 2))
    border = area - given[:, 1:-1, 1:-1].sum((1, 2))
    excess = np.full((len(given), len(given)), np.nan)
    if flow is not None:
        excess = np.asarray(motion_excess(masks, flow), np.float64)
    alike = None if features is None else np.asarray(mask_affinity(masks, features))
    return FrontEvidence(border, area, excess, alike)


@jax.jit
@typed
def motion_excess(
    masks: Float[ArrayLike, "K H W"], flow: Float[ArrayLike, "H W 2"]
) -> Float[Array, "K K"]:
    """By how much the motion of mask j is worse for the flow of mask i than its own.

    Args:
      masks: >= 0.
      flow: Of any unit; finite.

    Returns:
      [i, j], of the unit of the flow: the root of what the mean square of the rest,
      over mask i, grows by; the motion of a mask is its quadratic. Pixels have the
      weight of the square of mask i.
    """
    masks, flow = jnp.asarray(masks), jnp.asarray(flow)
    height, width = flow.shape[:2]
    x = jnp.arange(height)[:, None, None] / height
    y = jnp.arange(width)[None, :, None] / width
    basis = jnp.concatenate(
        [x**rows * y**columns for rows, columns in POWERS.tolist()], axis=-1
    )
    theta = quadratic_flow(masks, flow).theta
    fits = jnp.einsum("hwb,kbc->khwc", basis, theta, precision="highest")
    rest = ((flow[None] - fits) ** 2).sum(-1)
    even = masks**2  # As the fit weighs pixels: no motion is better than its own.
    weight = jnp.maximum(even.sum((1, 2)), TINY)[:, None]
    mean = jnp.einsum("ihw,jhw->ij", even, rest, precision="highest") / weight
    return jnp.sqrt(jnp.maximum(mean - jnp.diagonal(mean)[:, None], 0.0))


def fronts(
    found: Iterable[FrontEvidence], least_motion: float, *, by_features: bool = False
) -> np.ndarray:
    """Which masks of a clip are in front: bool (K,).

    Args:
      found: Of its frames.
      least_motion: What moves less, in the middle of all frames in which it has any
        area, is behind. In the unit of the flow; 0 = whatever it does. Frames without
        flow say nothing; where none has one, motion does not count.
      by_features: Cut the masks into two groups by what they look like, of which one is
        behind; else that is one mask.

    Raises:
      ValueError: there are no frames; or they have no features, but should.
    """
    rows = list(found)
    if not rows:
        raise ValueError("no frame says anything of its masks")
    border = np.sum([row.border for row in rows], 0)
    area = np.sum([row.area for row in rows], 0)
    groups = np.arange(len(border))
    if by_features and len(border) > 2:
        alike = [row.alike for row in rows if row.alike is not None]
        if len(alike) < len(rows):
            raise ValueError("masks are to be grouped by features, and there are none")
        groups = two_groups(np.mean(alike, 0)).astype(int)
    behind = max(
        sorted(set(groups.tolist())),
        key=lambda g: (border[groups == g].sum(), area[groups == g].sum()),
    )
    is_front = groups != behind
    back = int(np.argmax(np.where(is_front, -1.0, border)))
    excess = np.stack([row.excess[:, back] for row in rows])
    share = np.stack([row.area / row.area.sum() for row in rows])
    for k in np.flatnonzero(is_front):
        seen = excess[(share[:, k] > LEAST_SHARE) & np.isfinite(excess[:, k]), k]
        if len(seen):
            is_front[k] = np.median(seen) >= least_motion
    return is_front


def front_labels(masks: np.ndarray, is_front: np.ndarray) -> np.ndarray:
    """Labels of a frame, int32 (H, W): 0 = behind, 1, 2, ... the masks in front.

    A pixel is in front where those masks, together, have more than half of it.

    Args:
      masks: Float (K, H, W), summing to 1.
      is_front: bool (K,).
    """
    if not is_front.any():
        return np.zeros(masks.shape[1:], np.int32)
    labels = masks[is_front].argmax(0).astype(np.int32) + 1
    return np.where(masks[is_front].sum(0) > 0.5, labels, 0)


class TrackVotes:
    """The label that each track is under most often, from the frames in order."""

    def __init__(self, tracks: PointTracks, num_labels: int):
        """Has seen nothing yet; labels are 0 .. num_labels - 1."""
        self._tracks = tracks
        self._votes = np.zeros((len(tracks), num_labels), np.int64)

    def add(self, frame: int, labels: np.ndarray) -> None:
        """Counts the labels (H, W) of a frame."""
        which, places = self._tracks.at(frame)
        if len(which):
            np.add.at(self._votes, (which, under(labels, places)), 1)

    def groups(self) -> np.ndarray:
        """int32 (N,); -1 for a track of which no frame was seen."""
        most = self._votes.argmax(1).astype(np.int32)
        return np.where(self._votes.any(1), most, np.int32(UNKNOWN))
