"""How long ids last: whether a true object keeps the id that it was first given.

In a frame an object has the id that covers most of it, if that is a quarter or more; a
frame in which no id does says nothing of ids, and is counted apart.
"""

import operator
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from flax import struct

from egojax.metrics.overlap import FrameOverlap

LEAST = 0.25  # Share of an object that its id covers, at least.


@struct.dataclass
class LastingScores:
    """Counts of (object, frame) pairs, of any number of sequences."""

    seen: Any  # Pairs.
    named: Any  # Of them, those with an id.
    first: Any  # Of these, those whose id is the one that the object had first,
    main: Any  # and those whose id is the one that it has most often.
    switches: Any  # Changes of the id from one named frame of an object to the next.

    @classmethod
    def empty(cls) -> "LastingScores":
        """No sequence yet."""
        return cls(0, 0, 0, 0, 0)

    @classmethod
    def of(cls, frames: Iterable[FrameOverlap]) -> "LastingScores":
        """Counts one sequence, in time order."""
        return cls.of_ids([*map(object_ids, frames)])

    @classmethod
    def of_ids(cls, frames: Iterable[dict[int, int]]) -> "LastingScores":
        """Counts one sequence, given the id of each object in each frame; 0 = none."""
        series: dict[int, list[int]] = {}
        for frame in frames:
            for key, value in frame.items():
                series.setdefault(key, []).append(value)
        total = cls.empty()
        for values in series.values():
            total = total.merge(_count(np.array(values)))
        return total

    def merge(self, other: "LastingScores") -> "LastingScores":
        """The counts of both."""
        return jax.tree.map(operator.add, self, other)

    def compute(self) -> dict[str, float]:
        """Shares in [0, 1] and changes in 1,000 frames; NaN where undefined."""
        named = self.named or np.nan
        return {
            "ids_first": float(self.first / named),
            "ids_main": float(self.main / named),
            "ids_switches": float(1000 * self.switches / named),
            "ids_named": float(self.named / (self.seen or np.nan)),
        }


def object_ids(frame: FrameOverlap) -> dict[int, int]:
    """The id of each true object of a frame; 0 = none covers enough of it."""
    if not len(frame.pred_ids):
        return dict.fromkeys(frame.true_ids.tolist(), 0)
    share = frame.intersection_over_area()
    best = frame.pred_ids[share.argmax(1)]
    ids = np.where(share.max(1) >= LEAST, best, 0)
    return dict(zip(frame.true_ids.tolist(), ids.tolist(), strict=True))


def _count(ids: np.ndarray) -> LastingScores:
    """Of one object, its ids frame by frame."""
    named = ids[ids != 0]
    if not len(named):
        return LastingScores(len(ids), 0, 0, 0, 0)
    _, count = np.unique(named, return_counts=True)
    return LastingScores(
        len(ids),
        len(named),
        int((named == named[0]).sum()),
        int(count.max()),
        int((named[1:] != named[:-1]).sum()),
    )
