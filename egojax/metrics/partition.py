"""How well frames are cut into things that move: the Rand index, and IoU as published.

ARI compares two partitions of the same pixels or points without regard to their names:
1 = the same, 0 = as chance has it. FG-ARI leaves out what truly is background.

The IoU of motion segmentation is 0 where the truth is empty, whatever is predicted;
the J of DAVIS (`metrics.davis`) is 1 where both are empty.

Source: Hubert and Arabie 1985; Karazija et al. 2024 (LRTL), `eval_utils.py`.
Differs: counts are whole numbers of any size, so that whole clips can be added up.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.errors import UsageError
from egojax.metrics.overlap import frame_overlap
from egojax.metrics.schema import nan_mean


@dataclasses.dataclass(frozen=True)
class PartitionScores:
    """How many pixels have each pair of a true and a predicted label."""

    true_ids: np.ndarray  # int64 (G,), rising.
    pred_ids: np.ndarray  # int64 (P,), rising.
    counts: np.ndarray  # int64 (G, P)

    @classmethod
    def empty(cls) -> "PartitionScores":
        """No pixel yet."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.zeros((0, 0), np.int64))

    @classmethod
    def of(cls, true_labels: np.ndarray, pred_labels: np.ndarray) -> "PartitionScores":
        """One frame, or any other array of labels.

        Raises:
          UsageError: the two differ in size, or are no integers.
        """
        found = frame_overlap(
            true_labels, pred_labels, true_background=None, pred_background=None
        )
        return cls(found.true_ids, found.pred_ids, found.intersection)

    def update(
        self, true_labels: np.ndarray, pred_labels: np.ndarray
    ) -> "PartitionScores":
        """Adds a frame whose labels mean what they meant before; as in `of`."""
        return self.merge(PartitionScores.of(true_labels, pred_labels))

    def merge(self, other: "PartitionScores") -> "PartitionScores":
        """The pixels of both."""
        true_ids = np.union1d(self.true_ids, other.true_ids)
        pred_ids = np.union1d(self.pred_ids, other.pred_ids)
        counts = np.zeros((len(true_ids), len(pred_ids)), np.int64)
        for part in (self, other):
            rows = np.searchsorted(true_ids, part.true_ids)
            columns = np.searchsorted(pred_ids, part.pred_ids)
            counts[np.ix_(rows, columns)] += part.counts
        return PartitionScores(true_ids, pred_ids, counts)

    def compute(self, background: int = 0) -> dict[str, float]:
        """`ARI`, and `FG-ARI` without the pixels whose true label is the background."""
        objects = self.counts[self.true_ids != background]
        return {"ARI": rand_index(self.counts), "FG-ARI": rand_index(objects)}


def rand_index(counts: np.ndarray) -> float:
    """The adjusted Rand index of a table of counts; 1 where chance leaves no room.

    Args:
      counts: Integers (G, P), points by true and predicted label.
    """
    table = np.asarray(counts, np.int64)

    # In Python's integers: those of long clips do not fit 64 bit.
    def pairs(sizes: np.ndarray) -> int:
        return sum(size * (size - 1) for size in sizes.ravel().tolist())

    shared, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    every = max(1, pairs(table.sum()))
    room = (rows + columns) * every - 2 * rows * columns
    return 2 * (shared * every - rows * columns) / room if room > 0 else 1.0


def mask_ious(
    true_mask: np.ndarray, masks: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """IoU of each mask with the true one, float64 (K,); 0 where the truth is empty.

    Args:
      true_mask: Booleans (H, W).
      masks: (K, H, W), booleans, or soft masks that count above `threshold`.

    Raises:
      UsageError: the sizes differ.
    """
    truth, found = np.asarray(true_mask, bool), np.asarray(masks)
    if found.ndim != 3 or found.shape[1:] != truth.shape:
        raise UsageError(f"masks {found.shape} for a true mask of {truth.shape}")
    if found.dtype != bool:
        found = found > threshold
    both = np.count_nonzero(found & truth, axis=(1, 2))
    either = np.count_nonzero(found | truth, axis=(1, 2))
    return both / np.maximum(either, 1)


# ------------------------------------------------------------- means over a data set


class MotionProtocol(NamedTuple):
    """Which frames of a sequence count, and what the mean is over."""

    above: int = -1  # Frames count whose number, as in their name, is larger.
    first: bool = True  # Whether the first frame counts,
    last: bool = True  # and the last one.
    by_sequence: bool = False  # The mean is over the means of sequences.


MOTION_PROTOCOLS = {
    # As published for DAVIS: frame 1, too, falls to a test that was meant for the
    # first; the last has no flow to a next one.
    "lrtl-davis": MotionProtocol(above=1, last=False, by_sequence=True),
    # As published for SegTrack v2 and FBMS-59: all frames that have flow.
    "lrtl-frames": MotionProtocol(last=False),
    # That of DAVIS 2016 itself.
    "davis2016": MotionProtocol(first=False, last=False, by_sequence=True),
    "frames": MotionProtocol(),
}


class MotionSeries(NamedTuple):
    """The frames of one sequence."""

    sequence: str
    numbers: np.ndarray  # int64 (T,), of the frames, as in their names.
    iou: np.ndarray  # float64 (T,), NaN = not annotated.


@dataclasses.dataclass(frozen=True)
class MotionScores:
    """IoU of any number of sequences, kept by frame (16 bytes each)."""

    series: tuple[MotionSeries, ...] = ()

    def update(
        self, sequence: str, numbers: Sequence[int], iou: Sequence[float]
    ) -> "MotionScores":
        """Adds all frames of a sequence.

        Args:
          sequence: Its name.
          numbers: Of each frame, as in its name.
          iou: Of each frame; NaN where there is no truth.

        Raises:
          UsageError: another number of frames than of values.
        """
        if len(numbers) != len(iou):
            raise UsageError(f"{sequence}: {len(iou)} values of {len(numbers)} frames")
        row = np.asarray(numbers, np.int64), np.asarray(iou, np.float64)
        return self.merge(MotionScores((MotionSeries(sequence, *row),)))

    def merge(self, other: "MotionScores") -> "MotionScores":
        """The sequences of both."""
        return MotionScores(self.series + other.series)

    def counted(self, protocol: str) -> dict[str, np.ndarray]:
        """The values that count, by sequence.

        Raises:
          ValueError: there is no such protocol.
        """
        if protocol not in MOTION_PROTOCOLS:
            raise ValueError(f"protocol {protocol!r}; there are {[*MOTION_PROTOCOLS]}")
        rule = MOTION_PROTOCOLS[protocol]
        found: dict[str, np.ndarray] = {}
        for row in self.series:
            kept = (row.numbers > rule.above) & ~np.isnan(row.iou)
            kept[:1] &= rule.first
            kept[-1:] &= rule.last
            before = found.get(row.sequence, np.zeros(0))
            found[row.sequence] = np.concatenate([before, row.iou[kept]])
        return found

    def compute(self, protocol: str = "frames") -> dict[str, Any]:
        """`motion_IoU` in that protocol, NaN if no frame counts, and how many did."""
        rows = list(self.counted(protocol).values())
        values = np.concatenate([np.zeros(0), *rows])
        means = np.array([nan_mean(row) for row in rows])
        by_sequence = MOTION_PROTOCOLS[protocol].by_sequence
        return {
            "motion_IoU": nan_mean(means if by_sequence else values),
            "frames": len(values),
        }

    def per_sequence(self, protocol: str = "frames") -> dict[str, float]:
        """The mean of each sequence, NaN where no frame counts."""
        return {name: nan_mean(row) for name, row in self.counted(protocol).items()}
