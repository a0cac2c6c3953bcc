"""How much the true and the predicted detections of one frame overlap.

Every track metric starts here: G true and P predicted detections, their areas, and the
G x P areas that they share. From label maps one joint histogram gives all of it in a
single pass; a full frame of 30 objects costs a fraction of a millisecond.

Host NumPy. Counts are exact; areas of boxes are float64.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import numpy as np

from egojax.errors import UsageError

EPS = float(np.finfo(np.float64).eps)
BoxFormat = Literal["xywh", "xyxy"]
_TABLE_SPAN = 1 << 18  # Labels that span less are ranked through a table, not a sort.


@dataclasses.dataclass(frozen=True)
class FrameOverlap:
    """Detections of one frame, true (rows) against predicted (columns).

    Ids need not be sorted, and must not repeat on one side.
    """

    true_ids: np.ndarray  # int64 (G,)
    pred_ids: np.ndarray  # int64 (P,)
    true_area: np.ndarray  # int64 (G,) pixels; float64 for boxes.
    pred_area: np.ndarray  # int64 (P,)
    intersection: np.ndarray  # int64 (G, P)

    def similarity(self) -> np.ndarray:
        """Intersection over union, float64 (G, P); 0 where the union is empty."""
        union = self.true_area[:, None] + self.pred_area[None, :] - self.intersection
        has_area = (self.true_area[:, None] > EPS) & (self.pred_area[None, :] > EPS)
        usable = has_area & (union > EPS)
        return np.divide(
            self.intersection, union, out=np.zeros(union.shape), where=usable
        )

    def intersection_over_area(self) -> np.ndarray:
        """Share of each true detection under each predicted one, float64 (G, P)."""
        area = np.broadcast_to(self.true_area[:, None], self.intersection.shape)
        out = np.zeros(area.shape)
        return np.divide(self.intersection, area, out=out, where=area > EPS)

    def relabel(self, mapping: Mapping[int, int]) -> "FrameOverlap":
        """Renames the predicted ids; equal new ids become one detection.

        Args:
          mapping: Old id to new id. A new id of 0, or an old id that is not in the
            mapping, drops the detection. Merging adds areas, which is exact where the
            detections are exclusive (label maps).
        """
        return self._merged("pred", self._renamed(self.pred_ids, mapping))

    def relabel_true(self, mapping: Mapping[int, int]) -> "FrameOverlap":
        """The same for the true ids."""
        return self._merged("true", self._renamed(self.true_ids, mapping))

    def select(
        self, *, true: np.ndarray | None = None, pred: np.ndarray | None = None
    ) -> "FrameOverlap":
        """Keeps the detections marked True; None keeps a whole side."""
        rows = slice(None) if true is None else np.asarray(true, bool)
        cols = slice(None) if pred is None else np.asarray(pred, bool)
        return FrameOverlap(
            self.true_ids[rows],
            self.pred_ids[cols],
            self.true_area[rows],
            self.pred_area[cols],
            self.intersection[rows][:, cols],
        )

    def drop(
        self, *, true_area: float | None = None, pred_area: float | None = None
    ) -> "FrameOverlap":
        """Removes detections with an area of at most this many pixels."""
        return self.select(
            true=None if true_area is None else self.true_area > true_area,
            pred=None if pred_area is None else self.pred_area > pred_area,
        )

    @staticmethod
    def _renamed(ids: np.ndarray, mapping: Mapping[int, int]) -> np.ndarray:
        return np.array([mapping.get(int(i), 0) for i in ids], np.int64)

    def _merged(self, side: str, new_ids: np.ndarray) -> "FrameOverlap":
        is_pred = side == "pred"
        kept = self.select(**{side: new_ids != 0})
        ids, rank = np.unique(new_ids[new_ids != 0], return_inverse=True)
        old_area = kept.pred_area if is_pred else kept.true_area
        area = np.zeros(len(ids), old_area.dtype)
        np.add.at(area, rank, old_area)
        table = kept.intersection if is_pred else kept.intersection.T
        shared = np.zeros((len(ids), table.shape[0]), table.dtype)
        np.add.at(shared, rank, table.T)
        if is_pred:
            return dataclasses.replace(
                kept, pred_ids=ids, pred_area=area, intersection=shared.T
            )
        return dataclasses.replace(
            kept, true_ids=ids, true_area=area, intersection=shared
        )


def frame_overlap(
    true_labels: np.ndarray,
    pred_labels: np.ndarray,
    *,
    true_background: int | None = 0,
    pred_background: int | None = 0,
) -> FrameOverlap:
    """Counts the overlaps of two label maps in one joint histogram.

    The maps are cut into runs of constant (true, predicted) label first, so that ranks
    and counts work on a few thousand runs in place of all pixels, whatever the range of
    the labels (24-bit random ids cost no more than small ones).

    Args:
      true_labels: Integers (H, W).
      pred_labels: Integers (H, W).
      true_background: The label that is no object; None = every label is one.
      pred_background: The same for the prediction.

    Returns:
      Ids in increasing order, with areas and intersections in pixels.

    Raises:
      UsageError: The maps differ in size or are not integers.
    """
    truth, pred = np.asarray(true_labels), np.asarray(pred_labels)
    if truth.shape != pred.shape:
        raise UsageError(
            f"label maps differ in size: true {truth.shape}, predicted {pred.shape}"
        )
    for side, labels in (("true", truth), ("predicted", pred)):
        if labels.dtype.kind not in "iub":
            raise UsageError(f"{side} labels are {labels.dtype}, expected integers")
    lengths, true_runs, pred_runs = _joint_runs(truth.ravel(), pred.ravel())
    true_ids, true_rank = _ranked(true_runs)
    pred_ids, pred_rank = _ranked(pred_runs)
    shape = (len(true_ids), len(pred_ids))
    flat = true_rank * shape[1] + pred_rank
    # Float sums of pixel counts are exact far beyond any image.
    joint = np.bincount(flat, lengths, shape[0] * shape[1]).astype(np.int64)
    joint = joint.reshape(shape)
    out = FrameOverlap(true_ids, pred_ids, joint.sum(1), joint.sum(0), joint)
    return out.select(
        true=true_ids != true_background, pred=pred_ids != pred_background
    )


def frame_overlaps(
    true_frames: Iterable[np.ndarray],
    pred_frames: Iterable[np.ndarray],
    *,
    threads: int = 1,
    true_background: int | None = 0,
    pred_background: int | None = 0,
) -> Iterator[FrameOverlap]:
    """`frame_overlap` of a whole clip, in order, a few frames at a time.

    With several threads the frames are still read by the caller's thread, and at most
    three batches of 8 frames a thread are held.
    """
    one = functools.partial(
        frame_overlap, true_background=true_background, pred_background=pred_background
    )
    pairs = paired_frames(true_frames, pred_frames)
    if threads <= 1:
        yield from (one(truth, pred) for truth, pred in pairs)
        return
    # A task of a few frames, since one alone is hardly longer than its hand-over.
    batches = iter(lambda: list(itertools.islice(pairs, 8)), [])
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        pending: collections.deque = collections.deque()
        for batch in batches:
            pending.append(
                pool.submit(lambda batch: [one(*pair) for pair in batch], batch)
            )
            if len(pending) > 2 * threads:
                yield from pending.popleft().result()
        for future in pending:
            yield from future.result()


def paired_frames(
    true_frames: Iterable[np.ndarray],
    pred_frames: Iterable[np.ndarray],
    name: str = "sequence",
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Walks both sides together.

    Raises:
      UsageError: One side ends before the other.
    """
    pairs = itertools.zip_longest(true_frames, pred_frames)
    for k, (truth, pred) in enumerate(pairs):
        if truth is None or pred is None:
            short = "truth" if truth is None else "prediction"
            raise UsageError(
                f"{name}: the {short} ends after {k} frames, before the other"
            )
        yield truth, pred


def mask_overlap(
    true_masks: np.ndarray,
    pred_masks: np.ndarray,
    true_ids: np.ndarray | None = None,
    pred_ids: np.ndarray | None = None,
) -> FrameOverlap:
    """Overlaps of two stacks of masks, which may overlap within a side.

    Args:
      true_masks: Booleans (G, H, W).
      pred_masks: Booleans (P, H, W).
      true_ids: Integers (G,); by default 1..G.
      pred_ids: Integers (P,); by default 1..P.
    """
    flat_true = np.asarray(true_masks, bool).reshape(len(true_masks), -1)
    flat_pred = np.asarray(pred_masks, bool).reshape(len(pred_masks), -1)
    if len(flat_true) and len(flat_pred) and flat_true.shape[1] != flat_pred.shape[1]:
        raise UsageError(
            f"mask stacks differ in size: true {np.shape(true_masks)[1:]}, "
            f"predicted {np.shape(pred_masks)[1:]}"
        )
    # A product of zeros and ones is an exact count while it fits the mantissa.
    dtype = np.float32 if flat_true.shape[-1] < 1 << 24 else np.float64
    shared = np.zeros((len(flat_true), len(flat_pred)))
    if shared.size:
        shared = flat_true.astype(dtype) @ flat_pred.astype(dtype).T
    return FrameOverlap(
        _ids_or_count(true_ids, len(flat_true)),
        _ids_or_count(pred_ids, len(flat_pred)),
        np.count_nonzero(flat_true, axis=1).astype(np.int64),
        np.count_nonzero(flat_pred, axis=1).astype(np.int64),
        shared.astype(np.int64),
    )


def box_overlap(
    true_boxes: np.ndarray,
    pred_boxes: np.ndarray,
    true_ids: np.ndarray | None = None,
    pred_ids: np.ndarray | None = None,
    *,
    form: BoxFormat = "xyxy",
) -> FrameOverlap:
    """Overlaps of two sets of boxes (n, 4) in continuous coordinates (no +1).

    Args:
      true_boxes: (G, 4) as (x0, y0, x1, y1), or (x, y, width, height).
      pred_boxes: (P, 4) in the same form.
      true_ids: Integers (G,); by default 1..G.
      pred_ids: Integers (P,); by default 1..P.
      form: "xyxy" or "xywh".
    """
    a, b = _corners(true_boxes, form), _corners(pred_boxes, form)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return FrameOverlap(
        _ids_or_count(true_ids, len(a)),
        _ids_or_count(pred_ids, len(b)),
        np.prod(a[:, 2:] - a[:, :2], axis=1),
        np.prod(b[:, 2:] - b[:, :2], axis=1),
        np.prod(np.maximum(high - low, 0.0), axis=-1),
    )


def box_iou(a: np.ndarray, b: np.ndarray, *, form: BoxFormat = "xyxy") -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4): float64 (n, m)."""
    return box_overlap(a, b, form=form).similarity()


def box_ioa(a: np.ndarray, b: np.ndarray, *, form: BoxFormat = "xyxy") -> np.ndarray:
    """Intersection over the area of `a`: float64 (n, m); 0 where that is empty."""
    return box_overlap(a, b, form=form).intersection_over_area()


def point_similarity(
    a: np.ndarray, b: np.ndarray, *, zero_distance: float = 2.0
) -> np.ndarray:
    """Similarity of 3D points (n, 3) and (m, 3): 1 - distance / zero_distance.

    Args:
      a: True locations in metres.
      b: Predicted locations in metres. A location that is not finite is similar to
        nothing.
      zero_distance: Where the similarity reaches 0; with 2 m, 0.5 means 1 m.
    """
    delta = np.asarray(a, float)[:, None] - np.asarray(b, float)[None]
    distance = np.sqrt(np.sum(delta * delta, axis=-1))
    return np.nan_to_num(np.maximum(0.0, 1.0 - distance / zero_distance), nan=0.0)


def _ids_or_count(ids: np.ndarray | None, count: int) -> np.ndarray:
    out = np.arange(1, count + 1) if ids is None else np.asarray(ids, np.int64)
    if len(out) != count:
        raise UsageError(f"{len(out)} ids were given for {count} detections")
    return out


def _corners(boxes: np.ndarray, form: BoxFormat) -> np.ndarray:
    if form not in ("xyxy", "xywh"):
        raise ValueError(f"box form {form!r}; there are 'xyxy' and 'xywh'")
    out = np.asarray(boxes, np.float64).reshape(-1, 4).copy()
    if form == "xywh":
        out[:, 2:] += out[:, :2]
    return out


def _joint_runs(
    a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths of the runs in which both are constant, and their values."""
    if a.size == 0:
        return np.zeros(0, np.int64), a, b
    changes = a[1:] != a[:-1]
    changes |= b[1:] != b[:-1]
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(starts, append=a.size)
    return lengths, a[starts], b[starts]


def _ranked(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in increasing order, int64, and the rank of each value."""
    if values.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = int(values.min())
    span = int(values.max()) - low + 1
    if span > _TABLE_SPAN:
        ids, rank = np.unique(values, return_inverse=True)
        return ids.astype(np.int64), rank
    shifted = values.astype(np.int64) - low
    present = np.zeros(span, bool)
    present[shifted] = True
    return np.flatnonzero(present) + low, (np.cumsum(present) - 1)[shifted]
