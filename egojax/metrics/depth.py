"""Depth errors in the video protocol: one scale and shift for the clip, in disparity.

Valid pixels have a true depth above 1 mm and below the maximum. Errors are means over
the valid pixels of a frame, then over the frames that have any; `log10` alone is a mean
over all valid pixels of the clip, as in the official code.

Source: the evaluation of Depth Anything Video and its forerunners (Ranftl et al. 2020).
"""

from typing import Any

import numpy as np
from flax import struct

MIN_DEPTH = 1e-3
DEPTH_FIELDS = (
    "abs_relative_difference",
    "squared_relative_difference",
    "rmse_linear",
    "log10",
    "delta1_acc",
    "delta2_acc",
    "delta3_acc",
)


@struct.dataclass
class DepthScores:
    """Sums over frames; a pytree."""

    total: Any  # float64 (7,), in the order of DEPTH_FIELDS.
    weight: Any  # float64 (7,): frames, or pixels for log10.

    @classmethod
    def empty(cls) -> "DepthScores":
        """No frame yet."""
        return cls(np.zeros(len(DEPTH_FIELDS)), np.zeros(len(DEPTH_FIELDS)))

    def update(
        self, pred_depth: np.ndarray, true_depth: np.ndarray, *, max_depth: float
    ) -> "DepthScores":
        """Adds one frame of depths (H, W); one without a valid pixel adds nothing."""
        valid = _valid(true_depth, max_depth)
        if not valid.any():
            return self
        pred, truth = np.asarray(pred_depth)[valid], np.asarray(true_depth)[valid]
        is_log = np.array(DEPTH_FIELDS) == "log10"
        weight = np.where(is_log, np.count_nonzero(valid), 1.0)
        frame = DepthScores(weight * depth_errors(pred, truth), weight)
        return self.merge(frame)

    def merge(self, other: "DepthScores") -> "DepthScores":
        """The frames of both."""
        return DepthScores(self.total + other.total, self.weight + other.weight)

    def compute(self) -> dict[str, float]:
        """Means over frames; NaN without any."""
        nothing = np.full(len(DEPTH_FIELDS), np.nan)
        mean = np.divide(self.total, self.weight, out=nothing, where=self.weight > 0)
        return dict(zip(DEPTH_FIELDS, mean.tolist(), strict=True))


def depth_errors(pred: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The errors of positive depths (n,), in the order of DEPTH_FIELDS."""
    pred, truth = np.asarray(pred, np.float64), np.asarray(truth, np.float64)
    delta = pred - truth
    ratio = np.maximum(pred / truth, truth / pred)
    return np.array(
        [
            np.mean(np.abs(delta) / truth),
            np.mean(delta**2 / truth),
            np.sqrt(np.mean(delta**2)),
            np.mean(np.abs(np.log10(pred) - np.log10(truth))),
            *(np.mean(ratio < 1.25**k) for k in (1, 2, 3)),
        ]
    )


def align_disparity(
    pred_disparity: np.ndarray, true_depth: np.ndarray, *, max_depth: float
) -> tuple[float, float]:
    """The scale and shift that bring a clip's disparity nearest to the truth's.

    Args:
      pred_disparity: (T, H, W), any scale.
      true_depth: (T, H, W), metres; invalid pixels hold anything outside the range.
      max_depth: Metres.

    Returns:
      Scale and shift, least squares over all valid pixels.

    Raises:
      ValueError: Fewer than two pixels are valid.
    """
    truth = np.asarray(true_depth, np.float64)
    valid = _valid(truth, max_depth)
    if np.count_nonzero(valid) < 2:
        raise ValueError(f"{np.count_nonzero(valid)} valid pixels, expected 2 or more")
    x = np.maximum(np.asarray(pred_disparity, np.float64)[valid], MIN_DEPTH)
    design = np.column_stack([x, np.ones_like(x)])
    solution = np.linalg.lstsq(design, 1 / (truth[valid] + 1e-8), rcond=None)[0]
    return float(solution[0]), float(solution[1])


def depth_from_aligned(
    pred_disparity: np.ndarray, scale: float, shift: float, *, max_depth: float
) -> np.ndarray:
    """Depth of an aligned disparity, clipped to [1e-3, max_depth]."""
    disparity = np.maximum(np.asarray(pred_disparity, np.float64), MIN_DEPTH)
    aligned = np.maximum(scale * disparity + shift, MIN_DEPTH)
    return np.clip(1 / aligned, MIN_DEPTH, max_depth)


def _valid(true_depth: np.ndarray, max_depth: float) -> np.ndarray:
    return (np.asarray(true_depth) > MIN_DEPTH) & (np.asarray(true_depth) < max_depth)
