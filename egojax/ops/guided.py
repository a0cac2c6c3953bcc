"""The guided filter: values made to follow the edges of an image (host)."""

import cv2
import numpy as np


def guided_filter(
    image: np.ndarray, values: np.ndarray, radius: int = 4, epsilon: float = 1e-4
) -> np.ndarray:
    """Values as affine functions of the image's colours, square by square, averaged.

    Linear in the values; constant ones stay as they are.

    Args:
      image: Float (H, W, 3), the guide.
      values: Float (K, H, W).
      radius: Squares are 2 radius + 1 pixels across; >= 0. Borders are mirrored.
      epsilon: > 0, in squares of the guide's unit: edges with less variance are none.

    Returns:
      float32 (K, H, W); may leave the range of the values.

    Source: He et al. 2010, "Guided image filtering", Eq. 14-16 (colour guide).
    """
    if image.shape[2:] != (3,) or values.shape[1:] != image.shape[:2]:
        raise ValueError(f"an image of {image.shape} cannot guide {values.shape}")
    if radius < 0 or not epsilon > 0:
        raise ValueError(f"radius={radius}, epsilon={epsilon}; expected >= 0, > 0")
    # Around the mean, float32 loses nothing where the guide is far from zero.
    center = image.reshape(-1, 3).mean(0, dtype=np.float64)
    guide = [
        np.ascontiguousarray(image[..., c] - center[c], np.float32) for c in (0, 1, 2)
    ]
    means = [_boxed(plane, radius) for plane in guide]
    inverse = _inverse_covariance(guide, means, radius, epsilon)
    out = np.empty(values.shape, np.float32)
    for plane, value in zip(out, np.asarray(values, np.float32), strict=True):
        plane[:] = _filtered(guide, means, inverse, value, radius)
    return out


def _boxed(plane: np.ndarray, radius: int) -> np.ndarray:
    side = 2 * radius + 1
    return cv2.boxFilter(plane, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REFLECT)


def _inverse_covariance(
    guide: list[np.ndarray], means: list[np.ndarray], radius: int, epsilon: float
) -> dict[tuple[int, int], np.ndarray]:
    """The inverse of (Sigma + epsilon I) of every square, by cofactors."""
    s = {}
    for a in range(3):
        for b in range(a, 3):
            s[a, b] = _boxed(guide[a] * guide[b], radius) - means[a] * means[b]
            if a == b:
                # Rounding must not make a variance negative.
                s[a, b] = np.maximum(s[a, b], 0) + np.float32(epsilon)
    minors = {
        (0, 0): s[1, 1] * s[2, 2] - s[1, 2] ** 2,
        (0, 1): s[0, 2] * s[1, 2] - s[0, 1] * s[2, 2],
        (0, 2): s[0, 1] * s[1, 2] - s[0, 2] * s[1, 1],
        (1, 1): s[0, 0] * s[2, 2] - s[0, 2] ** 2,
        (1, 2): s[0, 1] * s[0, 2] - s[0, 0] * s[1, 2],
        (2, 2): s[0, 0] * s[1, 1] - s[0, 1] ** 2,
    }
    det = sum(s[0, c] * minors[0, c] for c in range(3))
    return {at: minor / det for at, minor in minors.items()}


def _filtered(
    guide: list[np.ndarray],
    means: list[np.ndarray],
    inverse: dict[tuple[int, int], np.ndarray],
    value: np.ndarray,
    radius: int,
) -> np.ndarray:
    mean = _boxed(value, radius)
    joint = [
        _boxed(g * value, radius) - m * mean for g, m in zip(guide, means, strict=True)
    ]
    out, offset = np.zeros_like(mean), mean
    for a in range(3):
        parts = [inverse[min(a, b), max(a, b)] * joint[b] for b in range(3)]
        slope = np.sum(parts, axis=0)
        out += _boxed(slope, radius) * guide[a]
        offset = offset - slope * means[a]
    return out + _boxed(offset, radius)
