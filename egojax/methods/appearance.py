"""What a segment looks like, without weights: its colours, brightness and texture.

A row of `DIM` numbers per segment, of unit length, so that the squared distance of two
rows lies in [0, 2]: 0 for the same look, 2 for nothing in common. It is made of
histograms over the mask, each the square root of its shares (so that a dot product is
the Bhattacharyya coefficient), weighted by `WEIGHTS`:

    chroma      8 x 8 soft bins of log(R/G), log(B/G): a change of light cancels
    brightness  8 soft bins of log luminance against the median of the frame
    edges       9 soft bins of the orientation of gradients, by their strength
    contrast    6 soft bins of the strength of gradients of log luminance
    pattern     10 rotation-invariant local binary patterns
    shape       elongation and how full the box is

Everything but the brightness is unchanged by a gain of the whole image, and the
brightness by one that the frame's median follows. It needs no image around the mask and
does not depend on the segment's size.
"""

import cv2
import numpy as np

from egojax.ops import segments as seg
from egojax.types import SegmentFeatures

# Share of each part in the squared length.
WEIGHTS = {
    "chroma": 0.40,
    "brightness": 0.18,
    "edges": 0.10,
    "contrast": 0.12,
    "pattern": 0.12,
    "shape": 0.08,
}
SIZES = {
    "chroma": 64,
    "brightness": 8,
    "edges": 9,
    "contrast": 6,
    "pattern": 10,
    "shape": 4,
}
DIM = sum(SIZES.values())
MAX_SAMPLES = 10_000  # Pixels a frame; beyond it every second, third, ... one counts.

# log(value + noise floor): the floor keeps dark pixels from having wild ratios.
FLOOR = 12.0
LOG = np.log(np.arange(256, dtype=np.float32) + FLOOR)


def describe(frame: np.ndarray, labels: np.ndarray) -> SegmentFeatures:
    """Describes every segment of a frame in one pass.

    Args:
      frame: uint8 (H, W, 3), RGB.
      labels: int (H, W), 0 = background.

    Returns:
      A row of `DIM` numbers for each id, ids ascending.

    Raises:
      ValueError: the frame is not uint8 (H, W, 3), or its size is not the labels'.
    """
    if frame.dtype != np.uint8 or frame.shape != (*labels.shape, 3):
        raise ValueError(
            f"expected uint8 {(*labels.shape, 3)}, found {frame.dtype} {frame.shape}"
        )
    ids, ranked = seg.rank_labels(labels)
    count = len(ids)
    if count == 0:
        return SegmentFeatures(ids, np.zeros((0, DIM), np.float32))
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    luminance = LOG[gray]
    whole = _samples(ranked)
    inner = _inner_samples(ranked, count, whole)
    parts = {
        "chroma": _chroma(frame, ranked, count, whole),
        "brightness": _brightness(gray, luminance, ranked, count, whole),
        **_gradients(luminance, ranked, count, inner),
        "pattern": _pattern(luminance, ranked, count, inner),
        "shape": _shape(ranked, count, whole),
    }
    rows = [np.sqrt(WEIGHTS[name]) * _hellinger(parts[name]) for name in SIZES]
    return SegmentFeatures(ids, np.concatenate(rows, axis=1).astype(np.float32))


def _samples(ranked: np.ndarray) -> np.ndarray:
    """Flat positions of (at most `MAX_SAMPLES`) pixels of segments."""
    index = np.flatnonzero(ranked)
    return index[:: -(-len(index) // MAX_SAMPLES)]


def _inner_samples(ranked: np.ndarray, count: int, whole: np.ndarray) -> np.ndarray:
    """Positions away from the masks' edges, where gradients belong to the segment."""
    inner = seg.erode(ranked, 2).ravel()
    # Of a segment that is too thin for this, every pixel counts.
    kept = np.bincount(inner[whole], minlength=count + 1)
    thin = kept < 16
    labels = ranked.ravel()[whole]
    return whole[(inner[whole] > 0) | thin[labels]]


def _hellinger(histogram: np.ndarray) -> np.ndarray:
    """Square roots of shares; an empty histogram counts as flat."""
    total = histogram.sum(1, keepdims=True)
    flat = np.full_like(histogram, 1.0 / histogram.shape[1])
    return np.sqrt(np.where(total > 0, histogram / np.maximum(total, 1e-12), flat))


def _histogram(
    segment: np.ndarray,
    count: int,
    position: np.ndarray,
    bins: int,
    weight: np.ndarray | None = None,
    wrap: bool = False,
) -> np.ndarray:
    """Histogram a segment; a value between two bin centres counts in both.

    Args:
      position: In bins; the centre of the first bin is 0. Clipped, or wrapped.
    """
    if not wrap:
        position = np.clip(position, 0, bins - 1)
    low = np.floor(position).astype(np.int64)
    share = position - low
    high = (low + 1) % bins if wrap else np.minimum(low + 1, bins - 1)
    low %= bins
    weight = np.ones_like(position) if weight is None else weight
    base = (segment.astype(np.int64) - 1) * bins
    size = count * bins
    table = np.bincount(base + low, weight * (1 - share), size)
    return (table + np.bincount(base + high, weight * share, size)).reshape(count, bins)


def _chroma(
    frame: np.ndarray, ranked: np.ndarray, count: int, at: np.ndarray
) -> np.ndarray:
    """Soft 8 x 8 histogram of log ratios; bins are finer around gray."""
    red, green, blue = LOG[frame.reshape(-1, 3)[at]].T
    # Most things are near gray: tanh spends the bins there.
    u = 3.5 + 3.5 * np.tanh(1.5 * (red - green))
    v = 3.5 + 3.5 * np.tanh(1.5 * (blue - green))
    low = np.clip(np.floor(v).astype(np.int64), 0, 6)
    share = v - low
    segment = (ranked.ravel()[at].astype(np.int64) - 1) * 8 + 1
    table = _histogram(segment + low, count * 8, u, 8, 1 - share)
    table += _histogram(segment + low + 1, count * 8, u, 8, share)
    return table.reshape(count, 64)


def _brightness(
    gray: np.ndarray,
    luminance: np.ndarray,
    ranked: np.ndarray,
    count: int,
    at: np.ndarray,
) -> np.ndarray:
    middle = LOG[int(np.median(gray[::4, ::4]))]
    # Eight bins from a fifth to five times the median.
    position = (luminance.ravel()[at] - middle) / np.log(5.0) * 3.5 + 3.5
    return _histogram(ranked.ravel()[at], count, position, 8)


def _gradients(
    luminance: np.ndarray, ranked: np.ndarray, count: int, at: np.ndarray
) -> dict[str, np.ndarray]:
    smooth = cv2.GaussianBlur(luminance, (3, 3), 0)
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8).ravel()[at]
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8).ravel()[at]
    strength = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx) * (9 / np.pi)  # Unsigned: 9 bins of 20 degrees.
    segment = ranked.ravel()[at]
    level = np.log2(np.maximum(strength, 1e-6) / 0.004)
    edges = _histogram(segment, count, angle, 9, strength, wrap=True)
    # A smooth thing has no directions; a floor keeps noise from looking like some.
    floor = 0.004 * np.bincount(segment, minlength=count + 1)[1:, None] / 9
    return {
        "edges": edges + floor,
        "contrast": _histogram(segment, count, level, 6),
    }


def _pattern(
    luminance: np.ndarray, ranked: np.ndarray, count: int, at: np.ndarray
) -> np.ndarray:
    """Local binary patterns, uniform and rotation invariant: 0-8 bits set, and others.

    Source: Ojala et al. 2002, riu2 with 8 neighbours. Differs: a neighbour must be
      brighter by 3 %, or noise on smooth surfaces decides.
    """
    width = luminance.shape[1]
    padded = cv2.copyMakeBorder(luminance, 1, 1, 1, 1, cv2.BORDER_REPLICATE).ravel()
    center = (at // width + 1) * (width + 2) + at % width + 1
    ring = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
    bits = np.stack(
        [
            padded[center + dy * (width + 2) + dx] > padded[center] + 0.03
            for dy, dx in ring
        ]
    )
    changes = (bits != np.roll(bits, 1, axis=0)).sum(0)
    code = np.where(changes <= 2, bits.sum(0), 9)
    base = (ranked.ravel()[at].astype(np.int64) - 1) * 10
    table = np.bincount(base + code, minlength=count * 10)
    return table.reshape(count, 10).astype(np.float64)


def _shape(ranked: np.ndarray, count: int, at: np.ndarray) -> np.ndarray:
    """Shares for elongation (minor over major axis) and for how full the box is."""
    area, center, _, box = seg.measure_ranked(ranked, count)
    segment = ranked.ravel()[at]
    dx = at % ranked.shape[1] + 0.5 - center[segment - 1, 0]
    dy = at // ranked.shape[1] + 0.5 - center[segment - 1, 1]
    sampled = np.maximum(np.bincount(segment, minlength=count + 1)[1:], 1)
    # A pixel is a square, not a point: 1/12 keeps a line from being infinitely thin.
    xx, xy, yy = (
        np.bincount(segment, product, count + 1)[1:] / sampled + extra
        for product, extra in ((dx * dx, 1 / 12), (dx * dy, 0.0), (dy * dy, 1 / 12))
    )
    spread = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    ratio = np.sqrt((xx + yy - spread) / (xx + yy + spread))
    sides = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    full = area / sides
    return np.stack([ratio, 1 - ratio, full, 1 - full], -1)
