"""Average precision of soft masks, and the protocols that are means of it over frames.

EPIC-Diff: the score is the opacity of what moves and of the actor together, the truth
one mask; frames without a positive pixel do not count.
EPIC Fields, UDOS (segmentation of dynamic objects): three motion types, each with an
annotation of its own: "dynamic" (moves now), "semistatic" (moves at another time),
"dynamic_semistatic" (either). Pixels of an annotation are 0 background, 1 positive, 2
ambiguous, 3 parts of the body.

Source: scikit-learn, average_precision_score; NeuralDiff, evaluation/segmentation.py;
dichotomies/epic-fields-nvs-udos, evaluate_udos.py, summarise.py.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from flax import struct

from egojax.errors import FrameError, UsageError
from egojax.metrics.frame_means import FrameMeans

Motion = Literal["dynamic", "semistatic", "dynamic_semistatic"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)
UDOS_NAMES = tuple(f"mAP_{motion}" for motion in MOTIONS)
POSITIVE, AMBIGUOUS, BODY = 1, 2, 3


class ScoredMask(NamedTuple):
    """A soft mask beside its truth; all (H, W), or of any one shape."""

    scores: np.ndarray  # Any range; only their order counts.
    positive: np.ndarray  # Booleans.
    ignore: np.ndarray | None = None  # Booleans: pixels that do not count.


def mask_average_precision(
    scores: np.ndarray, positive: np.ndarray, ignore: np.ndarray | None = None
) -> float:
    """Precision averaged over recall: sum of (R_k - R_(k-1)) P_k, no interpolation.

    Args:
      scores: Any range and shape. Equal scores are one threshold.
      positive: Booleans of the same shape.
      ignore: Booleans of the same shape: what does not count, and may hold anything.

    Returns:
      In [0, 1]; 0 with a RuntimeWarning if nothing is positive.

    Raises:
      UsageError: Sizes differ.
      FrameError: A score that counts is NaN.
    """
    counted = _counted(ScoredMask(scores, positive, ignore))
    if counted.positive.any():
        return _average_precision(*counted)
    warnings.warn(
        "average precision without a positive pixel is 0", RuntimeWarning, stacklevel=2
    )
    return 0.0


@struct.dataclass
class SoftMaskScores:
    """Mean average precision over frames, by name; a pytree."""

    means: FrameMeans

    @classmethod
    def empty(cls, names: tuple[str, ...] = ("mAP",)) -> "SoftMaskScores":
        """No frame yet.

        Args:
          names: Of the results: "mAP" for EPIC-Diff, `UDOS_NAMES` for EPIC Fields, or
            one a stream, such as "mAP_actor"; tables print what begins with "mAP" in
            percent.
        """
        return cls(FrameMeans.empty(names))

    def update(self, masks: Mapping[str, ScoredMask]) -> "SoftMaskScores":
        """Adds one frame: result name to soft mask and truth.

        A name that is not given, or whose truth has no positive pixel, does not count
        in this frame.

        Raises:
          UsageError: Sizes differ.
          FrameError: A score that counts is NaN.
          ValueError: Another name.
        """
        counted = {name: _counted(mask) for name, mask in masks.items()}
        values = {
            name: _average_precision(*mask)
            for name, mask in counted.items()
            if mask.positive.any()
        }
        return SoftMaskScores(self.means.update(values))

    def merge(self, other: "SoftMaskScores") -> "SoftMaskScores":
        """The frames of both, which have the same names."""
        return SoftMaskScores(self.means.merge(other.means))

    def compute(self) -> dict[str, float]:
        """Means by name, NaN without a frame; beside each, `num_frames_NAME`."""
        counts = self.means.counts().items()
        numbers = {f"num_frames_{name}": count for name, count in counts}
        return {**self.means.compute(), **numbers}


def udos_masks(
    scores: Mapping[str, np.ndarray],
    annotations: Mapping[str, np.ndarray],
    *,
    others: Literal["negative", "void"] = "negative",
) -> dict[str, ScoredMask]:
    """One frame by the rules of UDOS, for `SoftMaskScores.empty(UDOS_NAMES)`.

    "dynamic": all but 0 is positive. "semistatic": 1 is positive, 2 does not count.
    "dynamic_semistatic": 1 and 3 are positive, 2 does not count.

    Args:
      scores: Motion type to soft mask (H, W). NeuralDiff gives the actor's for
        "dynamic" and the sum of both moving streams' for the others; a method with one
        soft mask gives it three times.
      annotations: Motion type to integers (H, W), any of `MOTIONS`; booleans are 0, 1.
      others: What pixels of the other kind are ("semistatic" for "dynamic" and the
        reverse): negatives, or left out. "dynamic_semistatic" has no other kind.

    Returns:
      Result name to mask, for the motion types with an annotation.

    Raises:
      UsageError: An unknown motion type, a value that is none of 0..3, scores or the
        other kind's annotation are missing.
    """
    if others not in ("negative", "void"):
        raise ValueError(f"others {others!r}; there are 'negative' and 'void'")
    given = {motion: _annotation(motion, a) for motion, a in annotations.items()}
    if missing := [motion for motion in given if motion not in scores]:
        raise UsageError(f"no scores for the annotations {missing}")
    out = {}
    for motion, annotation in given.items():
        positive, ignore = _positives(motion, annotation), None
        if motion != "dynamic":
            ignore = annotation == AMBIGUOUS
        if others == "void" and motion != "dynamic_semistatic":
            void = _other_kind(motion, given) & ~positive
            ignore = void if ignore is None else ignore | void
        out[f"mAP_{motion}"] = ScoredMask(scores[motion], positive, ignore)
    return out


def udos_mean_over_videos(
    results: Sequence[Mapping[str, float]],
) -> dict[str, float]:
    """The benchmark from each video's result: a video without a number counts as 0.

    The official summary takes the videos that both of the compared methods have.
    `mean_of_results` is the mean that skips such videos.
    """
    table = [[result.get(name, np.nan) for name in UDOS_NAMES] for result in results]
    values = np.array(table, np.float64).reshape(-1, len(UDOS_NAMES))
    mean = np.full(len(UDOS_NAMES), np.nan)
    if len(values):
        mean = np.nan_to_num(values, nan=0.0).mean(axis=0)
    return dict(zip(UDOS_NAMES, mean.tolist(), strict=True))


class _Counted(NamedTuple):
    """The pixels that count."""

    scores: np.ndarray  # float32 or float64 (n,)
    positive: np.ndarray  # bool (n,)


def _counted(mask: ScoredMask) -> _Counted:
    scores, positive = np.asarray(mask.scores), np.asarray(mask.positive, bool)
    keep = np.ones(positive.shape, bool)
    if mask.ignore is not None:
        keep = ~np.asarray(mask.ignore, bool)
    if not scores.shape == positive.shape == keep.shape:
        raise UsageError(
            f"scores {scores.shape}, positives {positive.shape} and pixels to ignore "
            f"{keep.shape} differ in size, expected one size"
        )
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    return _Counted(scores[keep], positive[keep])


def _average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Of at least one positive."""
    hits, misses = np.sort(scores[positive]), np.sort(scores[~positive])
    # NaN is sorted to the end.
    if np.isnan(hits[-1]) or np.isnan(misses[-1:]).any():
        raise FrameError(f"{np.count_nonzero(np.isnan(scores))} scores are NaN")
    # Recall grows at the scores of positives alone: no other threshold adds anything.
    first = np.flatnonzero(np.append(True, hits[1:] != hits[:-1]))
    true_above = hits.size - first
    false_above = misses.size - np.searchsorted(misses, hits[first])
    gained = np.diff(first, append=hits.size)
    precision = true_above / (true_above + false_above)
    return float(np.sum(gained * precision)) / hits.size


def _annotation(motion: str, annotation: np.ndarray) -> np.ndarray:
    if motion not in MOTIONS:
        raise UsageError(f"motion type {motion!r}; there are {MOTIONS}")
    values = np.asarray(annotation)
    if values.dtype.kind not in "iub":
        raise UsageError(
            f"the {motion} annotation is {values.dtype}, expected integers"
        )
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > BODY:
        raise UsageError(
            f"the {motion} annotation has values from {low} to {high}, expected 0 to "
            f"{BODY}; divide a mask of 0 and 255 by 255"
        )
    return values.astype(np.uint8)


def _positives(motion: str, annotation: np.ndarray) -> np.ndarray:
    if motion == "dynamic":
        return annotation > 0
    body = (annotation == BODY) & (motion == "dynamic_semistatic")
    return (annotation == POSITIVE) | body


def _other_kind(motion: str, annotations: Mapping[str, np.ndarray]) -> np.ndarray:
    other = "semistatic" if motion == "dynamic" else "dynamic"
    if other not in annotations:
        raise UsageError(
            f"no {other} annotation, which says what to leave out of {motion}; give it "
            "or count the others as negatives"
        )
    return _positives(other, annotations[other])
