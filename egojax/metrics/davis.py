"""J and F in the DAVIS protocols, per object and frame, with the official statistics.

Source: Perazzi et al. 2016; Pont-Tuset et al. 2017; Caelles et al. 2019;
davis2017-evaluation, metrics.py, utils.py, evaluation.py.
Differs: the decay is right beyond 256 frames; `official_compat` brings the official
8-bit overflow back.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from scipy import optimize

from egojax.errors import UsageError
from egojax.metrics.overlap import frame_overlap, paired_frames
from egojax.metrics.regions import region_and_contour
from egojax.metrics.schema import nan_mean

Protocol = Literal["semi", "unsup", "unsup-motion", "davis2016", "free"]
VOID = 255
MAX_PROPOSALS = 20


@dataclasses.dataclass(frozen=True)
class ObjectSeries:
    """J and F of one object of one sequence, a value per frame that counts."""

    sequence: str
    object_id: int
    J: np.ndarray  # float64 (T,)
    F: np.ndarray  # float64 (T,)


@dataclasses.dataclass(frozen=True)
class RegionScores:
    """J and F of any number of objects, kept per frame (16 bytes an object-frame)."""

    objects: tuple[ObjectSeries, ...] = ()

    def update(
        self,
        true_frames: Iterable[np.ndarray],
        pred_frames: Iterable[np.ndarray],
        **options: Any,
    ) -> "RegionScores":
        """Adds a sequence; options as in `score_sequence`."""
        return self.merge(score_sequence(true_frames, pred_frames, **options))

    def merge(self, other: "RegionScores") -> "RegionScores":
        """The objects of both."""
        return RegionScores(self.objects + other.objects)

    def sequences(self) -> dict[str, "RegionScores"]:
        """The same, sequence by sequence."""
        names = dict.fromkeys(series.sequence for series in self.objects)
        return {
            name: RegionScores(tuple(s for s in self.objects if s.sequence == name))
            for name in names
        }

    def compute(self, *, official_compat: bool = False) -> dict[str, float]:
        """Means over all objects of all sequences; NaN if there is none."""
        out = {}
        for key in ("J", "F"):
            rows = [
                series_statistics(getattr(s, key), official_compat=official_compat)
                for s in self.objects
            ]
            for name in ("Mean", "Recall", "Decay"):
                values = [row[name] for row in rows]
                out[f"{key}-{name}"] = float(np.mean(values)) if values else np.nan
        return {"J&F-Mean": (out["J-Mean"] + out["F-Mean"]) / 2, **out}

    def per_object(self) -> dict[str, dict[str, float]]:
        """J and F of each object, under SEQUENCE_ID."""
        return {
            f"{s.sequence}_{s.object_id}": {"J": nan_mean(s.J), "F": nan_mean(s.F)}
            for s in self.objects
        }


def series_statistics(
    values: np.ndarray, *, official_compat: bool = False
) -> dict[str, float]:
    """Mean, recall (share above 0.5) and decay (first quarter minus last) over time.

    NaN is skipped in means. `official_compat` wraps the edges of the quarters at 256
    frames, as the official code's 8-bit indices do; an empty quarter gives NaN.
    """
    values = np.asarray(values, np.float64)
    edges = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    if official_compat:
        edges %= 256
    first, last = (values[edges[k] : edges[k + 1] + 1] for k in (0, 3))
    recall = np.mean(values > 0.5) if values.size else np.nan
    return {
        "Mean": nan_mean(values),
        "Recall": float(recall),
        "Decay": nan_mean(first) - nan_mean(last),
    }


def score_sequence(
    true_frames: Iterable[np.ndarray],
    pred_frames: Iterable[np.ndarray],
    *,
    protocol: Protocol = "semi",
    name: str = "sequence",
    bound_th: float = 0.008,
) -> RegionScores:
    """J and F of one sequence of label maps.

    Frames are read one at a time; the unsupervised protocols keep the label maps, since
    the number of proposals is known at the end alone.

    Args:
      true_frames: Integers (H, W); 255 is void, but in the free form it is an id.
      pred_frames: Integers (H, W), as many.
      protocol: "semi": objects 1..K of the first true frame; the first and last frame
        are left out, void is background. "unsup": all frames, void is ignored, up to 20
        proposals paired with the objects as well as possible. "unsup-motion": the same,
        where the true labels are groups that move. "davis2016": "semi" with all objects
        merged. "free": all frames, ids as they are, those of the truth alone count.
      name: Names the sequence.
      bound_th: Tolerance of F, as a share of the diagonal, or in pixels from 1 on.

    Returns:
      A series per object. The objects of "unsup" are in the order of the matched
      proposals, as in the official lists.

    Raises:
      UsageError: Sizes or lengths differ, a predicted id is above K ("semi"), there are
        more than 20 proposals, or the truth has no object.
    """
    pairs = _paired(true_frames, pred_frames, name)
    if protocol in ("unsup", "unsup-motion"):
        return _score_proposals(list(pairs), name, bound_th)
    if protocol == "free":
        return _score_free(pairs, name, bound_th)
    if protocol not in ("semi", "davis2016"):
        raise ValueError(f"protocol {protocol!r}; there are {Protocol}")
    return _score_semi(pairs, name, bound_th, merged=protocol == "davis2016")


def _paired(
    true_frames: Iterable[np.ndarray], pred_frames: Iterable[np.ndarray], name: str
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for k, (truth, pred) in enumerate(paired_frames(true_frames, pred_frames, name)):
        truth, pred = np.asarray(truth), np.asarray(pred)
        if truth.shape != pred.shape:
            raise UsageError(
                f"{name}, frame {k}: the prediction is {pred.shape}, "
                f"expected {truth.shape} as the annotation"
            )
        yield truth, pred


def _score_semi(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    name: str,
    bound_th: float,
    *,
    merged: bool,
) -> RegionScores:
    rows: list[list[tuple[float, float]]] = []
    num_objects = 0
    for k, (truth, pred) in enumerate(pairs):
        truth = np.where(truth == VOID, 0, truth)
        pred = np.where(pred == VOID, 0, pred) if merged else pred
        if merged:
            truth, pred = (truth > 0).astype(np.uint8), (pred > 0).astype(np.uint8)
        if k == 0:
            num_objects = int(truth.max(initial=0))
            continue
        if pred.max(initial=0) > num_objects:
            raise UsageError(
                f"{name}, frame {k}: predicted id {pred.max()}, expected at most "
                f"{num_objects}, the number of objects in the first annotation"
            )
        rows.append(
            [
                region_and_contour(truth == i, pred == i, bound_th=bound_th)
                for i in _up_to(num_objects)
            ]
        )
    return _as_scores(name, _up_to(num_objects), rows[:-1])


def _score_free(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], name: str, bound_th: float
) -> RegionScores:
    """Objects may appear late: earlier frames count with an empty true mask."""
    history: dict[int, list[tuple[float, float]]] = {}
    before: dict[int, list[tuple[float, float]]] = {}
    for frame, (truth, pred) in enumerate(pairs):
        overlap = frame_overlap(truth, pred)
        in_truth = set(overlap.true_ids.tolist())
        in_pred = set(overlap.pred_ids.tolist())
        empty = [(1.0, 1.0)] * frame
        for i in in_truth - set(history):
            history[i] = before.pop(i, empty.copy())
        # A predicted id may turn out to be a true one later.
        for i in in_pred - set(history) - set(before):
            before[i] = empty.copy()
        for i, row in (history | before).items():
            seen = i in in_truth or i in in_pred
            row.append(
                region_and_contour(truth == i, pred == i, bound_th=bound_th)
                if seen
                else (1.0, 1.0)
            )
    ids = sorted(history)
    return _as_scores(name, ids, list(zip(*(history[i] for i in ids), strict=True)))


def _score_proposals(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], name: str, bound_th: float
) -> RegionScores:
    num_true = max((int(t[t != VOID].max(initial=0)) for t, _ in pairs), default=0)
    found = max((int(p[p != VOID].max(initial=0)) for _, p in pairs), default=0)
    if found > MAX_PROPOSALS:
        raise UsageError(f"{name}: {found} proposals, expected at most {MAX_PROPOSALS}")
    num_pred = max(found, num_true)
    table = np.zeros((2, num_pred, num_true, len(pairs)))
    for k, (truth, pred) in enumerate(pairs):
        void = truth == VOID
        objects = [truth == i for i in _up_to(num_true)]
        proposals = [pred == i for i in _up_to(num_pred)]
        for (p, mask), (t, true) in itertools.product(
            enumerate(proposals), enumerate(objects)
        ):
            table[:, p, t, k] = region_and_contour(true, mask, void, bound_th=bound_th)
    quality = table.mean(axis=(0, 3)) if pairs else np.zeros((num_pred, num_true))
    picked = optimize.linear_sum_assignment(quality, maximize=True)
    matched = table[:, picked[0], picked[1], :]
    series = [
        ObjectSeries(name, k + 1, matched[0, k], matched[1, k]) for k in range(num_true)
    ]
    return _checked(name, tuple(series))


def _as_scores(
    name: str, ids: Sequence[int], rows: Sequence[Sequence[tuple[float, float]]]
) -> RegionScores:
    table = np.array(rows, np.float64).reshape(len(rows), len(ids), 2)
    objects = tuple(
        ObjectSeries(name, i, table[:, k, 0], table[:, k, 1]) for k, i in enumerate(ids)
    )
    return _checked(name, objects)


def _checked(name: str, objects: tuple[ObjectSeries, ...]) -> RegionScores:
    if not objects:
        raise UsageError(f"{name}: the annotation has no object, expected at least one")
    return RegionScores(objects)


def _up_to(count: int) -> list[int]:
    return list(range(1, count + 1))
