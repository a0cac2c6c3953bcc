"""Object permanence: is an object's track still right while it is out of sight, and is
its identity the same when it comes back?

Definitions, per true object and frame:
- The object's *own track* is the id of the prediction that matched it last, over all
  frames before. Before its first match it has none, and nothing is counted.
- The object is *absent for n frames* in a frame where it is not visible and was last
  visible n frames before. Such a frame counts where the truth knows the location; it is
  correct at radius R if the own track has a location by then, given in this frame or
  remembered from an earlier one, within R of the true one. The share of correct frames
  over n is the curve "PCL over time since last seen".
- A *re-appearance* with a gap of n frames is a visible frame after n frames that were
  not. The identity *survives* if the first prediction that matches the object during
  the visible spell that begins there has the id of its own track. A spell without any
  match has lost it. The share of survivors over n is the identity-survival curve.
- *PCL after the longest absence*: of every object that came back, its longest gap alone
  (the first, if several are equally long). It counts as correct at R if its own track
  was correct in the last absent frame of known location and the identity survived.

Nothing else is asked of the tracker than ids and the locations it remembers, so that a
clip of any length is scored from a few numbers a frame.
"""

import bisect
import dataclasses
import operator
from typing import Any

import jax
import numpy as np
from flax import struct

from egojax.errors import UsageError
from egojax.metrics.matching import best_matching
from egojax.metrics.overlap import FrameOverlap

GAP_EDGES = (1, 6, 16, 31, 61, 121, 241)  # Frames; the last bin is open.
RADII = (0.3, 0.6, 1.0)  # Metres.


@struct.dataclass
class PermanenceScores:
    """Counts of any number of clips; a pytree that adds up leaf by leaf."""

    absent: Any  # int64 (bins,), frames.
    located: Any  # int64 (radii, bins)
    returned: Any  # int64 (bins,), re-appearances.
    survived: Any  # int64 (bins,)
    longest: Any  # Objects that came back, of known location.
    longest_located: Any  # int64 (radii,): located, and the identity survived.
    unmatched: Any  # Absent frames and returns of objects without a track so far.
    gap_edges: tuple[int, ...] = struct.field(pytree_node=False, default=GAP_EDGES)
    radii: tuple[float, ...] = struct.field(pytree_node=False, default=RADII)

    @classmethod
    def empty(
        cls, gap_edges: tuple[int, ...] = GAP_EDGES, radii: tuple[float, ...] = RADII
    ) -> "PermanenceScores":
        """Nothing yet. The bins are [edge, next edge), in frames; the last is open."""
        bins, num_radii = len(gap_edges), len(radii)
        return cls(
            absent=np.zeros(bins, np.int64),
            located=np.zeros((num_radii, bins), np.int64),
            returned=np.zeros(bins, np.int64),
            survived=np.zeros(bins, np.int64),
            longest=0,
            longest_located=np.zeros(num_radii, np.int64),
            unmatched=0,
            gap_edges=gap_edges,
            radii=radii,
        )

    def merge(self, other: "PermanenceScores") -> "PermanenceScores":
        """The counts of both, which have the same bins and radii."""
        return jax.tree.map(operator.add, self, other)

    def update(self, recorder: "PermanenceRecorder") -> "PermanenceScores":
        """Adds one more clip."""
        return self.merge(recorder.finish())

    def compute(self) -> dict[str, Any]:
        """Shares, NaN where nothing is counted.

        `identity_survival`, `PCL_R0.3` and so on over all gaps, and the same with
        `_by_gap` as lists beside `gap_edges`; `PCL_after_longest_absence` at the first
        radius, and with `_R0.3` and so on at each.
        """
        out: dict[str, Any] = {
            "identity_survival": _share(self.survived.sum(), self.returned.sum()),
            "identity_survival_by_gap": _share(self.survived, self.returned),
            "num_returns": int(self.returned.sum()),
            "num_returns_by_gap": self.returned.tolist(),
            "num_absent_frames": int(self.absent.sum()),
            "num_absent_frames_by_gap": self.absent.tolist(),
            "num_longest_absences": int(self.longest),
            "num_without_track": int(self.unmatched),
            "gap_edges": list(self.gap_edges),
        }
        after = _share(self.longest_located, np.full(len(self.radii), self.longest))
        out["PCL_after_longest_absence"] = after[0]
        for k, radius in enumerate(self.radii):
            located = self.located[k]
            out[f"PCL_R{radius:g}"] = _share(located.sum(), self.absent.sum())
            out[f"PCL_R{radius:g}_by_gap"] = _share(located, self.absent)
            out[f"PCL_after_longest_absence_R{radius:g}"] = after[k]
        return out


@dataclasses.dataclass
class _Return:
    """A re-appearance."""

    gap: int
    located: np.ndarray | None  # bool (radii,); None = true location unknown.
    survived: bool = False


@dataclasses.dataclass
class _Object:
    """What is remembered of one true object."""

    last_seen: int
    own_track: int = 0
    located: np.ndarray | None = None  # In the last absent frame of known location.
    waiting: _Return | None = None  # For the first match of the visible spell.
    longest: _Return | None = None


class PermanenceRecorder:
    """Takes one clip frame by frame, in time order.

    Args:
      gap_edges: Lower edges of the bins of gaps, in frames, increasing from 1.
      radii: Metres; the first one is that of the headline number.
      name: Names the clip in errors.
    """

    def __init__(
        self,
        *,
        gap_edges: tuple[int, ...] = GAP_EDGES,
        radii: tuple[float, ...] = RADII,
        name: str = "clip",
    ):
        if list(gap_edges) != sorted(set(gap_edges)) or not gap_edges[:1] == (1,):
            raise ValueError(f"gap edges {gap_edges}, expected to increase from 1")
        self.name = name
        self._scores = PermanenceScores.empty(gap_edges, radii)
        self._objects: dict[int, _Object] = {}
        self._memory: dict[int, np.ndarray] = {}
        self._frame = -1
        self._unmatched = 0

    def add(
        self,
        true_ids: np.ndarray,
        visible: np.ndarray,
        true_locations: np.ndarray,
        matched_ids: np.ndarray,
        track_ids: np.ndarray,
        track_locations: np.ndarray,
        frame_idx: int | None = None,
    ) -> None:
        """Appends a frame.

        Args:
          true_ids: Integers (n,), all objects that are known of, seen or not. One that
            is missing counts as not visible, at an unknown place.
          visible: Booleans (n,).
          true_locations: Metres (n, 3); NaN where unknown.
          matched_ids: Integers (n,), the predicted id on each object; 0 = none. Only
            those of visible objects count (`match_objects`).
          track_ids: Integers (m,), tracks with a location in this frame. Those of
            earlier frames are remembered.
          track_locations: Metres (m, 3); a row that is not finite says nothing new.
          frame_idx: Its place in the video, where frames are left out: absences are
            counted in frames of the video. The one after the last if not given.

        Raises:
          UsageError: Frames are not in order, columns differ in length, or a true id
            occurs twice.
        """
        last, self._frame = self._frame, self._frame + 1
        if frame_idx is not None:
            self._frame = frame_idx
        if self._frame <= last:
            raise UsageError(f"{self.name}: frame {frame_idx} comes after {last}")
        true_ids = np.asarray(true_ids, np.int64)
        locations = np.asarray(true_locations, np.float64).reshape(-1, 3)
        self._check(true_ids, visible, locations, matched_ids)
        rows = zip(
            np.asarray(track_ids).tolist(),
            np.asarray(track_locations, np.float64).reshape(-1, 3),
            strict=True,
        )
        self._memory.update((i, at) for i, at in rows if np.isfinite(at).all())
        columns = (true_ids, visible, locations, matched_ids)
        for i, is_seen, location, matched in zip(*columns, strict=True):
            if is_seen:
                self._see(int(i), int(matched))
            elif int(i) in self._objects and np.isfinite(location).all():
                self._miss(self._objects[int(i)], location)

    def finish(self) -> PermanenceScores:
        """The counts so far."""
        longest, located = 0, np.zeros(len(self._scores.radii), np.int64)
        for one in self._objects.values():
            if one.longest is not None and one.longest.located is not None:
                longest += 1
                located += one.longest.located & one.longest.survived
        # A copy, so that the clip can go on.
        counts = jax.tree.map(np.copy, self._scores)
        return counts.replace(
            longest=longest, longest_located=located, unmatched=self._unmatched
        )

    def _see(self, i: int, matched: int) -> None:
        """A visible object, which may have been away just before."""
        one = self._objects.setdefault(i, _Object(self._frame))
        gap = self._frame - one.last_seen - 1
        one.last_seen = self._frame
        if gap > 0:
            self._come_back(one, gap)
        if not matched:
            return
        if one.waiting is not None:
            one.waiting.survived = matched == one.own_track
            self._scores.survived[self._bin(one.waiting.gap)] += one.waiting.survived
            one.waiting = None
        one.own_track = matched

    def _come_back(self, one: _Object, gap: int) -> None:
        if one.own_track == 0:
            self._unmatched += 1
            return
        one.waiting = _Return(gap, one.located)
        one.located = None
        self._scores.returned[self._bin(gap)] += 1
        if one.longest is None or gap > one.longest.gap:
            one.longest = one.waiting

    def _miss(self, one: _Object, location: np.ndarray) -> None:
        """An absent object of known location."""
        if one.own_track == 0:
            self._unmatched += 1
            return
        remembered = self._memory.get(one.own_track)
        error = np.inf
        if remembered is not None:
            error = float(np.linalg.norm(remembered - location))
        one.located = error <= np.asarray(self._scores.radii)
        k = self._bin(self._frame - one.last_seen)
        self._scores.absent[k] += 1
        self._scores.located[:, k] += one.located

    def _bin(self, gap: int) -> int:
        return bisect.bisect_right(self._scores.gap_edges, gap) - 1

    def _check(self, true_ids: np.ndarray, *columns: np.ndarray) -> None:
        where = f"{self.name}, frame {self._frame}"
        if any(len(column) != len(true_ids) for column in columns):
            lengths = [len(true_ids), *(len(column) for column in columns)]
            raise UsageError(f"{where}: columns of the objects have lengths {lengths}")
        ids, counts = np.unique(true_ids, return_counts=True)
        if np.any(counts > 1):
            raise UsageError(
                f"{where}: true id {ids[counts > 1][0]} occurs {counts.max()} times, "
                "expected once"
            )


def match_objects(overlap: FrameOverlap, *, threshold: float = 0.5) -> np.ndarray:
    """The predicted id on each true object of a frame, int64 (G,); 0 = none.

    The one-to-one matching of the largest total overlap, among pairs that overlap by
    `threshold`.
    """
    similarity = overlap.similarity()
    rows, cols = np.nonzero(similarity >= threshold)
    chosen = best_matching(np.zeros_like(rows), rows, cols, similarity[rows, cols])
    out = np.zeros(len(overlap.true_ids), np.int64)
    out[rows[chosen]] = overlap.pred_ids[cols[chosen]]
    return out


def _share(part: np.ndarray, whole: np.ndarray) -> Any:
    """A ratio, or a list of them; NaN where the whole is 0."""
    out = np.full(np.shape(whole), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0).tolist()
