"""How well a clip was cut into what moves, against its true label maps.

Numbers of all that moves together, frame by frame: J, F, and the IoU of the published
protocol. Of single bodies, over the whole clip: ARI and FG-ARI of points, the IoU of
each true body with the group that is paired with it, and how long its id lasts.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import optimize

from egojax.errors import FrameError
from egojax.methods.dense_flow import under
from egojax.metrics import (
    LastingScores,
    PartitionScores,
    TrackingScores,
    TrackRecorder,
    frame_overlap,
    mask_ious,
    object_ids,
    region_and_contour,
    series_statistics,
)
from egojax.types import Clip, PointTracks

MOVING = 2  # Of `Objects.motion`.
VOID = 255  # Of annotations that keep ids: pixels that do not count.


class JudgedFrame(NamedTuple):
    """A frame with truth."""

    frame_idx: int
    true_labels: np.ndarray  # int32 (H, W), 0 = at rest.
    labels: np.ndarray  # int32 (H, W), as they were found; 0 = at rest.


class MotionNumbers(NamedTuple):
    """The numbers of a clip."""

    names: dict[str, float]
    frames: dict[int, dict[str, float]]  # See `_frame_row`; of each with truth.
    pairs: dict[int, int]  # True body -> group.


def true_frames(clip: Clip) -> Iterator[tuple[int, np.ndarray]]:
    """The true labels of each frame that has any, of what moves at some time."""
    truth = clip.truth
    if truth is None or truth.labels is None:
        return
    moving = moving_ids(truth)
    is_mask = None  # Whether 255 is what moves, as in masks of 0 and 255, or void.
    for t in range(clip.num_frames):
        try:
            labels = truth.labels[t]
        except FrameError:
            continue
        if labels is None:
            continue
        if moving is not None:
            labels = np.where(np.isin(labels, moving), labels, 0)
        if is_mask is None and labels.any():
            is_mask = bool(np.isin(labels, (0, VOID)).all())
        if is_mask:
            labels = labels > 0
        yield t, np.asarray(labels, np.int32)


def of_what_moves(truth: Clip) -> Clip:
    """The truth with what never moves as background in its labels.

    Which ids those are is found out when the first frame is read.
    """
    if truth.labels is None:
        return truth
    found = functools.cache(lambda: moving_ids(truth))

    def only(labels: np.ndarray | None) -> np.ndarray | None:
        moving = found()
        if labels is None or moving is None:
            return labels
        return np.where(np.isin(labels, moving), labels, 0).astype(labels.dtype)

    return truth.replace(labels=truth.labels.map(only))


def moving_ids(truth: Clip) -> np.ndarray | None:
    """The objects that move at some time; None = nothing says so, all labels count."""
    if truth.objects is None:
        return None
    found: set[int] = set()
    for t in range(truth.num_frames):
        objects = truth.objects[t]
        if objects is not None:
            if objects.motion is None:
                return None
            found |= {*objects.ids[objects.motion == MOVING].tolist()}
    return np.array(sorted(found), np.int64)


def score_clip(
    frames: Iterable[JudgedFrame], tracks: PointTracks | None, group: np.ndarray | None
) -> MotionNumbers:
    """Scores a clip.

    Args:
      frames: In order.
      tracks: Points; None = there are none, and their numbers are left out.
      group: Int (N,), of each track: -1 unknown, 0 at rest; None = they have none.
    """
    rows: dict[int, dict[str, float]] = {}
    pixels, of_points, of_tracks = (PartitionScores.empty() for _ in range(3))
    recorder, ids = TrackRecorder(), []
    seen = known = 0
    for t, truth, labels in frames:
        valid = truth != VOID
        rows[t] = _frame_row(truth, labels, ~valid)
        pixels = pixels.update(truth[valid], labels[valid])
        overlap = frame_overlap(truth * valid, labels * valid)
        recorder.add(overlap)
        ids.append(object_ids(overlap))
        if tracks is None:
            continue
        which, places = tracks.at(t)
        true_at, found_at = (under(image, places) for image in (truth, labels))
        counts = true_at != VOID
        of_points = of_points.update(true_at[counts], found_at[counts])
        if group is not None:
            named = counts & (group[which] >= 0)
            of_tracks = of_tracks.update(true_at[named], group[which][named])
            seen, known = seen + counts.sum(), known + named.sum()
    names = _means(rows)
    pairs, iou = body_pairs(pixels)
    if iou:
        names["bodies_IoU"] = float(np.mean([*iou.values()]))
        names["bodies"] = float(len(iou))
        names["IDF1"] = TrackingScores.of(recorder).compute()["IDF1"]
        names |= LastingScores.of_ids(ids).compute()
    names["groups"] = float((pixels.pred_ids > 0).sum())
    for prefix, table in (("points", of_points), ("tracks", of_tracks)):
        if table.counts.size:
            names |= {f"{prefix}_{k}": v for k, v in table.compute().items()}
    if seen:
        names["tracks_share"] = known / seen
    return MotionNumbers(names, rows, pairs)


def _frame_row(
    truth: np.ndarray, labels: np.ndarray, void: np.ndarray
) -> dict[str, float]:
    true_mask, mask = (truth > 0) & ~void, (labels > 0) & ~void
    region, contour = region_and_contour(true_mask, mask, void)
    iou, iou_of_rest = mask_ious(true_mask, np.stack([mask, ~mask & ~void]))
    return {
        "J": region,
        "F": contour,
        "IoU": float(iou),
        # As published: of what was found and the rest, the TRUTH picks the front.
        "IoU_by_truth": float(max(iou, iou_of_rest)),
    }


def _means(rows: dict[int, dict[str, float]]) -> dict[str, float]:
    if not rows:
        return {}
    out = {}
    for name in ("J", "F"):
        values = np.array([row[name] for row in rows.values()])
        statistics = series_statistics(values)
        out[name] = statistics["Mean"]
        out |= {f"{name}_{k.lower()}": statistics[k] for k in ("Recall", "Decay")}
    return {"J&F": (out["J"] + out["F"]) / 2, **out}


def body_pairs(pixels: PartitionScores) -> tuple[dict[int, int], dict[int, float]]:
    """The group of each true body, and the IoU of both over all frames.

    Each group is paired with one body at most; a body that is left over has IoU 0.
    """
    true_total, pred_total = pixels.counts.sum(1), pixels.counts.sum(0)
    rows, columns = (
        np.flatnonzero(pixels.true_ids > 0),
        np.flatnonzero(pixels.pred_ids > 0),
    )
    both = pixels.counts[np.ix_(rows, columns)]
    either = true_total[rows, None] + pred_total[None, columns] - both
    table = both / np.maximum(either, 1)
    pairs: dict[int, int] = {}
    iou = {int(i): 0.0 for i in pixels.true_ids[rows]}
    matched = optimize.linear_sum_assignment(table, maximize=True)
    for row, column in zip(*matched, strict=True):
        if table[row, column] > 0:
            body = int(pixels.true_ids[rows[row]])
            pairs[body] = int(pixels.pred_ids[columns[column]])
            iou[body] = float(table[row, column])
    return pairs, iou
