"""A sequence of detections, recorded frame by frame in small sparse columns.

`TrackRecorder` is what the track metrics are computed from. It keeps ids and the pairs
of detections that overlap at all: about a kilobyte for a frame of 30 objects, so that
20,000 frames take some 20 MB.
"""

import array
import dataclasses
from collections.abc import Iterable

import numpy as np

from egojax.errors import UsageError
from egojax.metrics.overlap import FrameOverlap

IdTriple = tuple[np.ndarray, np.ndarray, np.ndarray]  # true ids, pred ids, similarity


@dataclasses.dataclass(frozen=True)
class DetectionPairs:
    """All detections of a sequence, a row each, and the pairs that overlap.

    Ids are ranks 0..n-1 in increasing order of the original id. `true` and `pred` of a
    pair are rows of the detections.
    """

    num_frames: int
    true_frame: np.ndarray  # int64 (N,)
    pred_frame: np.ndarray  # int64 (M,)
    true_rank: np.ndarray  # int64 (N,)
    pred_rank: np.ndarray  # int64 (M,)
    num_true_ids: int
    num_pred_ids: int
    true: np.ndarray  # int64 (K,)
    pred: np.ndarray  # int64 (K,)
    similarity: np.ndarray  # float64 (K,), > 0

    @property
    def frame(self) -> np.ndarray:
        """The frame of each pair."""
        return self.true_frame[self.true]


class TrackRecorder:
    """Collects one sequence, a frame at a time, in time order."""

    def __init__(self, name: str = "sequence"):
        self.name = name
        # True side, predicted side.
        self._ids = (array.array("q"), array.array("q"))
        self._counts = (array.array("i"), array.array("i"))
        self._pairs = (array.array("q"), array.array("q"))
        self._similarity = array.array("d")

    def __len__(self) -> int:
        return len(self._counts[0])

    def add(self, frame: FrameOverlap | IdTriple) -> None:
        """Appends a frame: an overlap, or (true ids, predicted ids, similarity G x P).

        Raises:
          UsageError: An id repeats on one side of the frame, or the similarity has
            another shape than the ids say.
        """
        if isinstance(frame, FrameOverlap):
            frame = (frame.true_ids, frame.pred_ids, frame.similarity())
        sides = tuple(np.asarray(ids, np.int64).reshape(-1) for ids in frame[:2])
        shape = (len(sides[0]), len(sides[1]))
        table = np.asarray(frame[2], np.float64)
        if table.size == 0:
            table = table.reshape(shape)
        if table.shape != shape:
            raise UsageError(
                f"{self.name}, frame {len(self)}: similarity is {table.shape}, "
                f"expected {shape} for that many true and predicted ids"
            )
        for side, ids in zip(("true", "predicted"), sides, strict=True):
            self._check_unique(side, ids)
        rows, cols = np.nonzero(table > 0)
        self._similarity.frombytes(table[rows, cols].tobytes())
        positions = zip(sides, self._ids, self._counts, self._pairs, strict=True)
        for (ids, store, counts, pairs), where in zip(
            positions, (rows, cols), strict=True
        ):
            pairs.frombytes((where + len(store)).astype(np.int64).tobytes())
            store.frombytes(ids.tobytes())
            counts.append(len(ids))

    def extend(self, frames: Iterable[FrameOverlap | IdTriple]) -> "TrackRecorder":
        """Appends many frames; returns itself."""
        for frame in frames:
            self.add(frame)
        return self

    def pairs(self) -> DetectionPairs:
        """The sequence so far as columns, with ids relabelled to ranks."""
        true_rank, pred_rank = (
            np.unique(np.array(ids, np.int64), return_inverse=True) for ids in self._ids
        )
        frames = [
            np.repeat(np.arange(len(self)), np.array(counts, np.int64))
            for counts in self._counts
        ]
        return DetectionPairs(
            num_frames=len(self),
            true_frame=frames[0],
            pred_frame=frames[1],
            true_rank=true_rank[1],
            pred_rank=pred_rank[1],
            num_true_ids=len(true_rank[0]),
            num_pred_ids=len(pred_rank[0]),
            true=np.array(self._pairs[0], np.int64),
            pred=np.array(self._pairs[1], np.int64),
            similarity=np.array(self._similarity, np.float64),
        )

    def _check_unique(self, side: str, ids: np.ndarray) -> None:
        if len(ids) < 2 or np.all(ids[1:] > ids[:-1]):
            return
        values, counts = np.unique(ids, return_counts=True)
        repeated = values[counts > 1]
        if repeated.size:
            raise UsageError(
                f"{self.name}, frame {len(self)}: {side} id {repeated[0]} occurs "
                f"{counts.max()} times, expected once; merge or rename the detections"
            )
