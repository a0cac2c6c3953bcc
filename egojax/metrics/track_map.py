"""Track mAP: average precision of whole tracks that carry a score (TAO, YouTube-VIS).

The overlap of two tracks is the sum over frames of their intersections over the sum of
their unions; both sides' areas add up frame by frame, so a clip streams through.

Source: Yang et al. 2019 (YouTube-VIS); Dave et al. 2020 (TAO); TrackEval, track_map.py.
"""

import dataclasses
from typing import Any

import numpy as np

from egojax.metrics.overlap import EPS, FrameOverlap

IOU_THRESHOLDS = np.arange(0.5, 0.96, 0.05)
RECALLS = np.linspace(0.0, 1.0, 101)
# Inclusive, in pixels of mean area and in frames.
RANGES: dict[str, tuple[str, float, float]] = {
    "all": ("area", 0.0, np.inf),
    "area_s": ("area", 0.0, 32.0**2),
    "area_m": ("area", 32.0**2, 96.0**2),
    "area_l": ("area", 96.0**2, 1e10),
    "time_s": ("length", 0.0, 3.0),
    "time_m": ("length", 3.0, 10.0),
    "time_l": ("length", 10.0, 1e5),
}


@dataclasses.dataclass(frozen=True)
class TrackVolumes:
    """The tracks of one sequence; predicted ones by score, best first."""

    iou: np.ndarray  # float64 (P, G)
    score: np.ndarray  # float64 (P,)
    pred_area: np.ndarray  # float64 (P,), mean over its frames.
    pred_length: np.ndarray  # int64 (P,), frames.
    true_area: np.ndarray  # float64 (G,)
    true_length: np.ndarray  # int64 (G,)


class TrackVolumeRecorder:
    """Adds up areas and intersections of one sequence, frame by frame."""

    def __init__(self) -> None:
        self._sides: tuple[dict[int, np.ndarray], ...] = ({}, {})
        self._shared: dict[tuple[int, int], float] = {}

    def add(self, overlap: FrameOverlap, scores: np.ndarray | None = None) -> None:
        """Appends a frame.

        Args:
          overlap: Of masks or of boxes (`box_overlap`).
          scores: Floats (P,) of the predicted detections; by default 1.
        """
        if scores is None:
            scores = np.ones(len(overlap.pred_ids))
        columns = (
            (overlap.true_ids, overlap.true_area, np.ones(len(overlap.true_ids))),
            (overlap.pred_ids, overlap.pred_area, np.asarray(scores, float)),
        )
        for sums, (ids, areas, marks) in zip(self._sides, columns, strict=True):
            for i, area, mark in zip(ids.tolist(), areas, marks, strict=True):
                row = sums.setdefault(i, np.zeros(3))
                row += (area, 1.0, mark)
        for r, c in zip(*np.nonzero(overlap.intersection), strict=True):
            key = (int(overlap.true_ids[r]), int(overlap.pred_ids[c]))
            self._shared[key] = self._shared.get(key, 0.0) + overlap.intersection[r, c]

    def finish(self) -> TrackVolumes:
        """The tracks so far; a track's score is the mean of its detections' scores."""
        true_ids, pred_ids = (sorted(side) for side in self._sides)
        true = np.array([self._sides[0][i] for i in true_ids]).reshape(-1, 3)
        pred = np.array([self._sides[1][i] for i in pred_ids]).reshape(-1, 3)
        shared = np.zeros((len(pred_ids), len(true_ids)))
        place = {i: k for k, i in enumerate(pred_ids)}
        column = {i: k for k, i in enumerate(true_ids)}
        for (i, j), area in self._shared.items():
            shared[place[j], column[i]] = area
        union = pred[:, None, 0] + true[None, :, 0] - shared
        iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > EPS)
        score = pred[:, 2] / np.maximum(pred[:, 1], 1)
        order = np.argsort(-score, kind="stable")
        return TrackVolumes(
            iou=iou[order],
            score=score[order],
            pred_area=(pred[:, 0] / np.maximum(pred[:, 1], 1))[order],
            pred_length=pred[order, 1].astype(np.int64),
            true_area=true[:, 0] / np.maximum(true[:, 1], 1),
            true_length=true[:, 1].astype(np.int64),
        )


@dataclasses.dataclass(frozen=True)
class TrackMapScores:
    """Any number of sequences; precision is that of all their tracks together."""

    sequences: tuple[TrackVolumes, ...] = ()

    def update(self, volumes: TrackVolumes) -> "TrackMapScores":
        """Adds one more sequence."""
        return TrackMapScores((*self.sequences, volumes))

    def merge(self, other: "TrackMapScores") -> "TrackMapScores":
        """The sequences of both."""
        return TrackMapScores(self.sequences + other.sequences)

    def compute(self) -> dict[str, Any]:
        """AP and AR of each range, over thresholds and as their mean.

        `AP_all_by_iou` is the list over 10 thresholds and `AP_all` its mean; -1 where
        the range has no true track. `AP` and `AR` are those of all tracks.
        """
        out: dict[str, Any] = {}
        for name in RANGES:
            table = np.array([self._at(name, iou) for iou in IOU_THRESHOLDS])
            for key, values in zip(("AP", "AR"), table.T, strict=True):
                out[f"{key}_{name}_by_iou"] = values.tolist()
                out[f"{key}_{name}"] = float(values.mean())
        return out | {"AP": out["AP_all"], "AR": out["AR_all"]}

    def _at(self, name: str, threshold: float) -> tuple[float, float]:
        hits, ignored, scores, num_true = [], [], [], 0
        for volumes in self.sequences:
            true_out = _outside(name, volumes.true_area, volumes.true_length)
            pred_out = _outside(name, volumes.pred_area, volumes.pred_length)
            hit, ignore = _match_tracks(volumes.iou, true_out, pred_out, threshold)
            hits.append(hit)
            ignored.append(ignore)
            scores.append(volumes.score)
            num_true += int(np.count_nonzero(~true_out))
        if num_true == 0:
            return -1.0, -1.0
        kept = ~np.concatenate(ignored)
        order = np.argsort(-np.concatenate(scores)[kept], kind="stable")
        return _average_precision(np.concatenate(hits)[kept][order], num_true)


def _outside(name: str, area: np.ndarray, length: np.ndarray) -> np.ndarray:
    quantity, low, high = RANGES[name]
    value = area if quantity == "area" else length
    return (value < low - EPS) | (value > high + EPS)


def _match_tracks(
    iou: np.ndarray, true_out: np.ndarray, pred_out: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which predictions hit a true track, and which are to be ignored."""
    hit = np.zeros(len(iou), bool)
    ignored = pred_out.copy()
    free = np.ones(len(true_out), bool)
    for p, row in enumerate(iou):
        able = free & (row >= min(threshold, 1 - 1e-10) - EPS)
        # A track that counts goes before one that is ignored, however well it fits.
        able &= ~true_out if np.any(able & ~true_out) else True
        if not able.any():
            continue
        best = np.flatnonzero(able & (row == row[able].max()))[-1]
        free[best] = False
        hit[p] = True
        ignored[p] = true_out[best]
    return hit, ignored


def _average_precision(hits: np.ndarray, num_true: int) -> tuple[float, float]:
    """AP sampled at 101 recalls, and the last recall."""
    if not hits.size:
        return 0.0, 0.0
    tp, fp = np.cumsum(hits), np.cumsum(~hits)
    recall = tp / num_true
    precision = tp / (fp + tp + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(recall, RECALLS, side="left")
    samples = np.append(precision, 0.0)[np.minimum(index, len(hits))]
    return float(samples.mean()), float(recall[-1])
