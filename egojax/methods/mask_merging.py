"""Masks of K things that move to two: what is in front, and the rest.

Masks whose pixels look alike, by the keys of a transformer, belong together: the mean
features of masks are compared, and the masks cut into two groups where they agree
least. Frame by frame; nothing links the groups over time.

Source: Karazija et al. 2024 (LRTL), `eval_utils.py`. Differs: the two groups are found
without scikit-learn and without its random start, by the vector that it clusters; a
rule that needs no labels says which group is in front.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from egojax.ops.image import resize_bilinear
from egojax.types import ArrayLike, typed

LEAST = 1e-6  # Affinity of masks that have nothing in common.


class ByTruth(NamedTuple):
    """What true labels choose."""

    front: int  # Of two masks, or of the splits.
    iou: float


@jax.jit
@typed
def mean_features(
    masks: Float[ArrayLike, "K H W"], features: Float[ArrayLike, "h w C"]
) -> Float[Array, "K C"]:
    """What K masks cover looks like on average, as vectors of unit length.

    Args:
      masks: >= 0.
      features: Of the whole image, in cells of any size; they are interpolated to the
        masks' pixels.

    Returns:
      Zeros for an empty mask.
    """
    masks, features = jnp.asarray(masks), jnp.asarray(features)
    # What a mask weighs of each cell: as if all features were made as large as it is.
    like = jax.ShapeDtypeStruct((*features.shape[:2], len(masks)), masks.dtype)
    pull = jax.linear_transpose(lambda x: resize_bilinear(x, masks.shape[1:]), like)
    (shares,) = pull(jnp.moveaxis(masks, 0, -1))
    total = jnp.maximum(masks.sum((1, 2)), 1e-12)[:, None]
    sums = jnp.einsum("hwk,hwc->kc", shares, features, precision=lax.Precision.HIGHEST)
    means = sums / total
    length = jnp.linalg.norm(means, axis=1, keepdims=True)
    return means / jnp.maximum(length, 1e-12)


@jax.jit
@typed
def mask_affinity(
    masks: Float[ArrayLike, "K H W"], features: Float[ArrayLike, "h w C"]
) -> Float[Array, "K K"]:
    """How much alike what K masks cover looks: 1 = the same, 1e-6 = not at all.

    Args:
      masks, features: See `mean_features`.

    Returns:
      The cosines of the mean features.
    """
    means = mean_features(masks, features)
    cosines = jnp.matmul(means, means.T, precision=lax.Precision.HIGHEST)
    return jnp.maximum(cosines, LEAST)


@typed
def two_groups(affinity: Float[ArrayLike, "K K"]) -> Bool[np.ndarray, " K"]:
    """Cuts things into two groups by how much alike they are; the first is in False.

    Args:
      affinity: > 0 off the diagonal, which does not count; finite.

    Returns:
      The split of the second eigenvector of the normalised Laplacian into two clusters
      with the least squares: what `SpectralClustering(2)` of scikit-learn looks for.

    Raises:
      ValueError: less than two things.
    """
    matrix = np.array(affinity, np.float64)
    if len(matrix) < 2:
        raise ValueError(f"{len(matrix)} masks; expected two or more to be grouped")
    np.fill_diagonal(matrix, 0.0)
    root = np.sqrt(np.maximum(matrix.sum(1), np.finfo(float).tiny))
    laplacian = np.eye(len(matrix)) - matrix / np.outer(root, root)
    values = np.linalg.eigh(laplacian)[1][:, 1] / root
    order = np.argsort(values, kind="stable")
    upper = order[_cut(values[order]) :]
    groups = np.isin(np.arange(len(matrix)), upper)
    return groups ^ groups[0]


def _cut(values: np.ndarray) -> int:
    """How many of sorted values are in the lower one of two clusters."""
    cuts = range(1, len(values))

    def rest(n: int) -> float:
        return n * values[:n].var() + (len(values) - n) * values[n:].var()

    return min(cuts, key=rest)


@typed
def merged(
    masks: Float[ArrayLike, "K H W"], groups: Bool[np.ndarray, " K"]
) -> Float[np.ndarray, "2 H W"]:
    """The sums of the masks that are not in the group, and of those that are."""
    masks = np.asarray(masks)
    return np.stack([masks[~groups].sum(0), masks[groups].sum(0)])


@typed
def front_by_border(pair: Float[ArrayLike, "2 H W"]) -> int:
    """Which of two soft masks is in front, without labels.

    The one with less of the image's border; where they have the same, the smaller one,
    then the second.
    """
    pair = np.asarray(pair, np.float64)
    inner = pair[:, 1:-1, 1:-1].sum((1, 2))
    area = pair.sum((1, 2))
    border = area - inner
    return int((border[0], area[0]) >= (border[1], area[1]))


@typed
def merge_to_front(
    masks: Float[ArrayLike, "K H W"], features: Float[ArrayLike, "h w C"] | None = None
) -> Float[np.ndarray, "2 H W"]:
    """Masks of what is behind and of what is in front (see `front_by_border`).

    Args:
      masks: Soft, of K >= 2 things.
      features: See `mask_affinity`; of two masks they are not needed.

    Raises:
      ValueError: there are more than two masks, but no features; or less than two.
    """
    if len(masks) == 2:
        pair = np.asarray(masks)
    elif features is None:
        raise ValueError(f"{len(masks)} masks, and no features to merge them by")
    else:
        pair = merged(masks, two_groups(mask_affinity(masks, features)))
    return pair if front_by_border(pair) else pair[::-1]


# ------------------------------------------------------------------- by true labels


@typed
def front_by_truth(
    pair: Float[ArrayLike, "2 H W"], truth: Bool[ArrayLike, "h w"]
) -> ByTruth:
    """Which of two soft masks is in front by the TRUE labels of the frame.

    So are published numbers made, of every system of this kind; it is no result of a
    system that has no labels.

    Args:
      pair: Interpolated to the size of the truth; what is > 0.5 counts.
      truth: Of what is in front.

    Returns:
      The mask with the larger IoU, the first of equals; an IoU of nothing is 0.
    """
    truth = np.asarray(truth)
    moved = jnp.moveaxis(jnp.asarray(pair), 0, -1)
    hard = np.moveaxis(np.asarray(resize_bilinear(moved, truth.shape)) > 0.5, -1, 0)
    shared = (hard & truth).sum((1, 2))
    union = (hard | truth).sum((1, 2))
    ious = shared / np.maximum(union, 1e-12)
    front = int(ious.argmax())
    return ByTruth(front, float(ious[front]))


def two_group_splits(count: int, *, published: bool = False) -> np.ndarray:
    """All ways to cut `count` things into two groups: bool (splits, count).

    Args:
      count: Things.
      published: Group by group, the smaller one first: with four things the three
        splits into two and two are there twice.
    """
    picks = itertools.chain.from_iterable(
        itertools.combinations(range(count), size) for size in range(1, count // 2 + 1)
    )
    rows = [np.isin(np.arange(count), pick) for pick in picks]
    if not published:
        rows = [row for row in rows if row.sum() * 2 < count or row[0]]
    return np.array(rows, bool).reshape(-1, count)


@typed
def best_split_by_truth(
    masks: Float[ArrayLike, "K H W"], truth: Bool[ArrayLike, "h w"]
) -> ByTruth:
    """The published "oracle": the best of all splits by the TRUE labels. No result.

    Returns:
      Which of `two_group_splits`, and the IoU of the better one of its groups.
    """
    splits = two_group_splits(len(masks))
    found = [front_by_truth(merged(masks, split), truth).iou for split in splits]
    best = int(np.argmax(found))
    return ByTruth(best, found[best])
