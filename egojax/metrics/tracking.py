"""HOTA, CLEAR, Identity, Count and VACE of tracks, from overlaps of frames.

`TrackRecorder` takes a sequence frame by frame; `TrackingScores` holds its counts.
Counts add up: over sequences, and over classes "by detections". An average over classes
does not, and is a function of the scores of all of them (`average_classes`).
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import struct

from egojax.metrics.clear import CLEAR_COUNTS, ClearCounts, clear_summary, count_clear
from egojax.metrics.hota import (
    HOTA_FIELDS,
    HotaCounts,
    count_hota,
    hota_by_alpha,
    hota_summary,
)
from egojax.metrics.identity import (
    DetectionCounts,
    IdentityCounts,
    VaceCounts,
    count_detections,
    count_identity,
    count_vace,
    detection_summary,
    identity_summary,
    vace_summary,
)
from egojax.metrics.overlap import FrameOverlap
from egojax.metrics.recorder import IdTriple, TrackRecorder


@struct.dataclass
class TrackingScores:
    """The counts of any number of sequences; a pytree that adds up leaf by leaf."""

    hota: HotaCounts
    clear: ClearCounts
    identity: IdentityCounts
    count: DetectionCounts
    vace: VaceCounts

    @classmethod
    def empty(cls) -> "TrackingScores":
        """No sequence yet."""
        zeros = np.zeros(19)
        return cls(
            HotaCounts(*[zeros] * 7),
            ClearCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, 0),
            IdentityCounts(0, 0, 0),
            DetectionCounts(0, 0, 0, 0, 0),
            VaceCounts(0.0, 0, 0, 0.0, 0),
        )

    @classmethod
    def of(
        cls,
        frames: Iterable[FrameOverlap | IdTriple] | TrackRecorder,
        *,
        name: str = "sequence",
        threshold: float = 0.5,
    ) -> "TrackingScores":
        """Counts one sequence.

        Args:
          frames: Overlaps, or (true ids, predicted ids, similarity) triples, in time
            order; or a recorder that has taken them.
          name: Names the sequence in errors.
          threshold: Similarity that a match of CLEAR and Identity needs.

        Raises:
          UsageError: An id occurs twice in one frame.
        """
        if not isinstance(frames, TrackRecorder):
            frames = TrackRecorder(name).extend(frames)
        pairs = frames.pairs()
        return cls(
            count_hota(pairs),
            count_clear(pairs, threshold),
            count_identity(pairs, threshold),
            count_detections(pairs),
            count_vace(pairs),
        )

    def update(
        self, frames: Iterable[FrameOverlap | IdTriple] | TrackRecorder, **options: Any
    ) -> "TrackingScores":
        """Adds one more sequence; options as in `of`."""
        return self.merge(TrackingScores.of(frames, **options))

    def merge(self, other: "TrackingScores") -> "TrackingScores":
        """The counts of both."""
        return jax.tree.map(operator.add, self, other)

    def compute(self) -> dict[str, Any]:
        """All numbers, flat; NaN where undefined.

        The HOTA family is a mean over its 19 thresholds under the plain name, and the
        list of them under `NAME_by_alpha`.
        """
        return {
            **hota_summary(hota_by_alpha(self.hota)),
            **clear_summary(self.clear),
            **identity_summary(self.identity),
            **detection_summary(self.count),
            **vace_summary(self.vace),
        }


def combine_sequences(scores: Iterable[TrackingScores]) -> TrackingScores:
    """Adds the counts of sequences, or of classes "by detections"."""
    out = TrackingScores.empty()
    for one in scores:
        out = out.merge(one)
    return out


def average_classes(
    scores: Mapping[str, TrackingScores] | Sequence[TrackingScores],
    *,
    ignore_empty_classes: bool = False,
) -> dict[str, Any]:
    """Combines classes by class average: mean of ratios, sum of counts.

    Args:
      scores: One per class.
      ignore_empty_classes: Leave classes without any true or predicted detection out.

    Returns:
      The names of `TrackingScores.compute` but VACE; NaN if no class takes part.
    """
    every = list(scores.values() if isinstance(scores, Mapping) else scores)
    used = [s for s in every if not ignore_empty_classes or _has_detections(s)]
    summed = combine_sequences(every)
    by_alpha = [hota_by_alpha(s.hota) for s in used]
    hota = hota_by_alpha(summed.hota)
    for name in HOTA_FIELDS:
        hota[name] = _mean([fields[name] for fields in by_alpha], 19)
    flat = [s.compute() for s in used]
    at_zero = ("HOTA(0)", "LocA(0)", "HOTALocA(0)")
    counts = {
        **{name: int(getattr(summed.clear, name)) for name in CLEAR_COUNTS},
        **{name: int(value) for name, value in vars(summed.identity).items()},
        **detection_summary(summed.count),
    }
    ratios = {**clear_summary(summed.clear), **identity_summary(summed.identity)}
    averaged = [*at_zero, *(name for name in ratios if name not in counts)]
    means = {name: float(_mean([f[name] for f in flat])) for name in averaged}
    return hota_summary(hota) | counts | means


def _has_detections(scores: TrackingScores) -> bool:
    return scores.count.Dets + scores.count.GT_Dets > 0


def _mean(values: list[Any], size: int | None = None) -> Any:
    if not values:
        return np.nan if size is None else np.full(size, np.nan)
    return np.mean(values, axis=0)
