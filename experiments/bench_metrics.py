"""The evaluator: tracks from label maps, and J and F, against plain references.

The first reference of the tracks is the published form: every frame split into a mask
an object, run-length encoded, compared pair by pair, and the metrics counted frame by
frame in dense tables. If EGOJAX_TRACKEVAL_PYTHON names a Python that has `trackeval`,
the real tool runs there too, on the same maps and one thread, in rows of its own.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from bench_rows import line
from scipy import optimize

from egojax import metrics

SIZE = (480, 854)
FIELDS = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDSW", "Frag", "IDF1")
Frames = Sequence[tuple[np.ndarray, np.ndarray]]


def make_frames(num_frames: int, num_objects: int = 30, seed: int = 0) -> Frames:
    """Label maps of drifting ellipses; predicted ones jitter and change their ids."""
    rng = np.random.default_rng(seed)
    center = rng.uniform([60, 60], [SIZE[1] - 60, SIZE[0] - 60], (num_objects, 2))
    axes = rng.integers(18, 46, (num_objects, 2))
    names = np.arange(1, num_objects + 1)
    out = []
    for _ in range(num_frames):
        center += rng.normal(0, 2, center.shape)
        names[rng.random(num_objects) < 0.01] = rng.integers(100, 60_000)
        maps = np.zeros((2, *SIZE), np.uint16)
        for k in range(num_objects):
            moved = center[k] + rng.normal(0, 3, 2)
            for side, place, label in ((0, center[k], k + 1), (1, moved, names[k])):
                at = tuple(int(v) for v in place)
                size = tuple(int(v) for v in axes[k])
                cv2.ellipse(maps[side], at, size, 15 * k, 0, 360, int(label), -1)
        out.append((maps[0], maps[1]))
    return out


def interleaved(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Best time of each call in milliseconds, in turns of at least a quarter second."""
    best = [np.inf] * len(calls)
    for _ in range(repeats):
        for k, call in enumerate(calls):
            turn = time.perf_counter()
            while (start := time.perf_counter()) < turn + 0.25:
                call()
                best[k] = min(best[k], 1e3 * (time.perf_counter() - start))
    return best


# -------------------------------------------------------- tracks, the published way


def encode(mask: np.ndarray) -> np.ndarray:
    """Starts and ends of the runs of a mask in column order, (2, runs)."""
    flat = np.concatenate([[0], mask.ravel(order="F"), [0]])
    return np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2).T


def encoded_overlap(a: np.ndarray, b: np.ndarray) -> int:
    """Pixels that two encoded masks share."""
    if not a.size or not b.size:
        return 0
    lengths = np.concatenate([[0], np.cumsum(b[1] - b[0])])

    def before(at: np.ndarray) -> np.ndarray:
        """Pixels of b before these positions."""
        run = np.searchsorted(b[0], at, side="right") - 1
        inside = np.clip(at - b[0][run], 0, (b[1] - b[0])[run])
        return np.where(run < 0, 0, lengths[run] + inside)

    return int(np.sum(before(a[1]) - before(a[0])))


def published_similarity(truth: np.ndarray, pred: np.ndarray) -> tuple[Any, Any, Any]:
    """Ids and IoU of one frame from a mask an object."""
    sides = []
    for labels in (truth, pred):
        ids = np.setdiff1d(np.unique(labels), [0])
        sides.append((ids, [encode((labels == i).astype(np.uint8)) for i in ids]))
    (true_ids, a), (pred_ids, b) = sides
    iou = np.zeros((len(a), len(b)))
    for r, one in enumerate(a):
        for c, other in enumerate(b):
            shared = encoded_overlap(one, other)
            areas = np.sum(one[1] - one[0]) + np.sum(other[1] - other[0])
            iou[r, c] = shared / (areas - shared)
    return true_ids.astype(int), pred_ids.astype(int), iou


def simple_similarity(truth: np.ndarray, pred: np.ndarray) -> tuple[Any, Any, Any]:
    """The same with NumPy: ranks by sorting, one joint count of all pixels."""
    true_ids, t = np.unique(truth, return_inverse=True)
    pred_ids, p = np.unique(pred, return_inverse=True)
    shape = (len(true_ids), len(pred_ids))
    joint = np.bincount((t * shape[1] + p).ravel(), minlength=shape[0] * shape[1])
    joint = joint.reshape(shape)
    shared = joint[true_ids != 0][:, pred_ids != 0]
    a, b = joint.sum(1)[true_ids != 0], joint.sum(0)[pred_ids != 0]
    iou = shared / (a[:, None] + b[None] - shared)
    return true_ids[true_ids != 0].astype(int), pred_ids[pred_ids != 0].astype(int), iou


def dense_scores(frames: Sequence[tuple[Any, Any, Any]]) -> dict[str, float]:
    """HOTA, CLEAR and Identity frame by frame in dense tables, as published."""
    true_names = np.unique(np.concatenate([f[0] for f in frames]))
    pred_names = np.unique(np.concatenate([f[1] for f in frames]))
    frames = [
        (np.searchsorted(true_names, t), np.searchsorted(pred_names, p), s)
        for t, p, s in frames
    ]
    shape = (len(true_names), len(pred_names))
    n = np.bincount(np.concatenate([f[0] for f in frames]), minlength=shape[0])
    m = np.bincount(np.concatenate([f[1] for f in frames]), minlength=shape[1])
    return (
        dense_hota(frames, shape, n, m)
        | dense_clear(frames, shape[0], n.sum(), m.sum())
        | dense_identity(frames, shape, n, m)
    )


def dense_hota(frames: Any, shape: Any, n: np.ndarray, m: np.ndarray) -> dict:
    """Luiten et al. 2021, frame by frame."""
    eps = np.finfo(float).eps
    aligned = np.zeros(shape)
    for t, p, s in frames:
        total = s.sum(0)[None] + s.sum(1)[:, None] - s
        aligned[np.ix_(t, p)] += np.where(total > eps, s / np.maximum(total, eps), 0)
    quality = aligned / (n[:, None] + m[None] - aligned)
    alphas = np.arange(0.05, 0.99, 0.05)
    tp, near = np.zeros(19), np.zeros(19)
    matches = np.zeros((19, *shape))
    for t, p, s in frames:
        rows, cols = optimize.linear_sum_assignment(-quality[np.ix_(t, p)] * s)
        for a, alpha in enumerate(alphas):
            kept = s[rows, cols] >= alpha - eps
            tp[a] += kept.sum()
            near[a] += s[rows[kept], cols[kept]].sum()
            matches[a, t[rows[kept]], p[cols[kept]]] += 1
    either = np.maximum(1, n[:, None] + m[None] - matches)
    ass_a = np.sum(matches * matches / either, axis=(1, 2)) / np.maximum(1, tp)
    det_a = tp / np.maximum(1, n.sum() + m.sum() - tp)
    return {
        "HOTA": np.sqrt(det_a * ass_a).mean(),
        "DetA": det_a.mean(),
        "AssA": ass_a.mean(),
        "LocA": (np.maximum(1e-10, near) / np.maximum(1e-10, tp)).mean(),
    }


def dense_clear(frames: Any, num_ids: int, num_true: int, num_pred: int) -> dict:
    """Bernardin and Stiefelhagen 2008, frame by frame."""
    last, before = np.full((2, num_ids), np.nan)
    tp, switches, total, pieces = 0, 0, 0.0, np.zeros(num_ids)
    for t, p, s in frames:
        score = 1000.0 * (p[None] == before[t][:, None]) + s
        score[s < 0.5 - np.finfo(float).eps] = 0
        rows, cols = optimize.linear_sum_assignment(-score)
        kept = score[rows, cols] > np.finfo(float).eps
        rows, cols = rows[kept], cols[kept]
        ids, found = t[rows], p[cols]
        switches += np.sum(~np.isnan(last[ids]) & (last[ids] != found))
        pieces[ids] += np.isnan(before[ids])
        last[ids] = found
        before[:] = np.nan
        before[ids] = found
        tp += len(ids)
        total += s[rows, cols].sum()
    return {
        "MOTA": (tp - (num_pred - tp) - switches) / max(1, num_true),
        "MOTP": total / max(1, tp),
        "IDSW": switches,
        "Frag": np.sum(pieces[pieces > 0] - 1),
    }


def dense_identity(frames: Any, shape: Any, n: np.ndarray, m: np.ndarray) -> dict:
    """Ristani et al. 2016, on the extended cost matrix."""
    shared = np.zeros(shape)
    for t, p, s in frames:
        shared[np.ix_(t, p)] += s >= 0.5
    size = sum(shape)
    missed, false = np.full((2, size, size), 1e10)
    missed[: shape[0], : shape[1]] = n[:, None] - shared
    false[: shape[0], : shape[1]] = m[None] - shared
    missed[shape[0] :], false[:, shape[1] :] = 0, 0
    missed[: shape[0], shape[1] :][np.diag_indices(shape[0])] = n
    false[shape[0] :, : shape[1]][np.diag_indices(shape[1])] = m
    false[shape[0] :, shape[1] :] = 0
    rows, cols = optimize.linear_sum_assignment(missed + false)
    idfn, idfp = missed[rows, cols].sum(), false[rows, cols].sum()
    idtp = n.sum() - idfn
    return {"IDF1": idtp / max(1, idtp + idfp / 2 + idfn / 2)}


def our_scores(frames: Frames, threads: int = 1) -> dict[str, float]:
    """Ours, from the label maps."""
    truth, pred = zip(*frames, strict=True)
    overlaps = metrics.frame_overlaps(truth, pred, threads=threads)
    return metrics.TrackingScores.of(overlaps).compute()


def tracking_rows(num_frames: int = 40, repeats: int = 3) -> Iterator[dict[str, Any]]:
    """HOTA + CLEAR + Identity from label maps, with one thread and with two."""
    frames = make_frames(num_frames)
    calls = (
        lambda: our_scores(frames),
        lambda: our_scores(frames, threads=2),
        lambda: dense_scores([published_similarity(*f) for f in frames]),
        lambda: dense_scores([simple_similarity(*f) for f in frames]),
    )
    results = [call() for call in calls]
    one, two, published, simple = (t / num_frames for t in interleaved(calls, repeats))
    error = max(
        abs(results[0][name] - other[name]) for other in results[1:] for name in FIELDS
    )
    name = "HOTA+CLEAR+Identity, 480x854, 30 ids, a frame"
    yield line(name, one, reference=published, simple=simple, error=error)
    yield line(
        f"{name}, 2 threads", two, reference=published, simple=simple, error=error
    )
    python = os.environ.get("EGOJAX_TRACKEVAL_PYTHON")
    if python:
        official, seconds = run_trackeval(python, frames)
        error = max(abs(results[0][key] - official[key]) for key in FIELDS)
        official_ms = 1e3 * seconds / num_frames
        yield line(
            f"{name}, trackeval itself",
            one,
            reference=official_ms,
            simple=simple,
            error=error,
        )
        yield line(
            f"{name}, trackeval, 2 threads",
            two,
            reference=official_ms,
            simple=simple,
            error=error,
        )


TRACKEVAL = """
import json, sys, time
import numpy as np
np.int, np.float = int, float  # Names that NumPy has dropped and the tool still uses.
from pycocotools import mask as coco
from trackeval import metrics
maps = np.load(sys.argv[1])
def encoded(labels):
    ids = np.setdiff1d(np.unique(labels), [0])
    masks = (labels[None] == ids[:, None, None]).astype(np.uint8)
    return ids, coco.encode(np.asfortranarray(masks.transpose(1, 2, 0)))
def run():
    frames = []
    for truth, pred in maps:
        (t, a), (p, b) = encoded(truth), encoded(pred)
        frames.append((t, p, np.asarray(coco.iou(a, b, [0] * len(b)))))
    names = [np.unique(np.concatenate([f[k] for f in frames])) for k in (0, 1)]
    ids = [[np.searchsorted(names[k], f[k]) for f in frames] for k in (0, 1)]
    data = dict(num_timesteps=len(frames), num_gt_ids=len(names[0]),
        num_tracker_ids=len(names[1]), gt_ids=ids[0], tracker_ids=ids[1],
        num_gt_dets=sum(map(len, ids[0])), num_tracker_dets=sum(map(len, ids[1])),
        similarity_scores=[f[2] for f in frames])
    quiet = {"PRINT_CONFIG": False}
    out = metrics.HOTA().eval_sequence(data)
    out.update(metrics.CLEAR(quiet).eval_sequence(data))
    out.update(metrics.Identity(quiet).eval_sequence(data))
    return {k: float(np.mean(v)) for k, v in out.items()}
times = []
for _ in range(2):
    start = time.perf_counter()
    out = run()
    times.append(time.perf_counter() - start)
print(json.dumps([out, min(times)]))
"""


def run_trackeval(python: str, frames: Frames) -> tuple[dict[str, float], float]:
    """Numbers and seconds of the real tool, on the same maps."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "maps.npy"
        np.save(path, np.array(frames))
        done = subprocess.run(
            [python, "-c", TRACKEVAL, str(path)],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    out, seconds = json.loads(done.stdout.splitlines()[-1])
    return out, seconds


# ----------------------------------------------------------------------- J and F


def plain_boundary(mask: np.ndarray) -> np.ndarray:
    """The boundary map of a whole frame, as published."""
    right, lower, corner = (np.zeros_like(mask) for _ in range(3))
    right[:, :-1] = mask[:, 1:]
    lower[:-1, :] = mask[1:, :]
    corner[:-1, :-1] = mask[1:, 1:]
    out = (mask ^ right) | (mask ^ lower) | (mask ^ corner)
    out[-1, :] = mask[-1, :] ^ right[-1, :]
    out[:, -1] = mask[:, -1] ^ lower[:, -1]
    out[-1, -1] = False
    return out


def plain_j_and_f(truth: np.ndarray, pred: np.ndarray) -> tuple[float, float]:
    """Perazzi et al. 2016 on whole frames."""
    union = np.sum(truth | pred)
    j = np.sum(truth & pred) / union if union else 1.0
    radius = int(np.ceil(0.008 * np.linalg.norm(truth.shape)))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    a, b = plain_boundary(truth), plain_boundary(pred)
    if not a.any() or not b.any():
        return float(j), float(a.any() == b.any())
    recall = np.sum(a & (cv2.dilate(b.astype(np.uint8), disk) > 0)) / np.sum(a)
    precision = np.sum(b & (cv2.dilate(a.astype(np.uint8), disk) > 0)) / np.sum(b)
    total = precision + recall
    return float(j), float(2 * precision * recall / total) if total else 0.0


def region_rows(num_frames: int = 6, repeats: int = 3) -> Iterator[dict[str, Any]]:
    """J and F of three objects of DAVIS size; the plain form is the simple one too."""
    masks = []
    for t in range(num_frames):
        for k, (x, y, w, h) in enumerate(
            ((200, 180, 90, 60), (520, 260, 120, 100), (700, 120, 40, 80))
        ):
            pair = np.zeros((2, *SIZE), np.uint8)
            cv2.ellipse(pair[0], (x + 3 * t, y), (w, h), 20 * k, 0, 360, 1, -1)
            cv2.ellipse(pair[1], (x + 2 * t, y + 5), (w, h - 6), 20 * k, 0, 360, 1, -1)
            masks.append(pair.astype(bool))
    calls = (
        lambda: [metrics.region_and_contour(*pair) for pair in masks],
        lambda: [plain_j_and_f(*pair) for pair in masks],
    )
    results = [np.array(call()) for call in calls]
    ours, plain = (t / len(masks) for t in interleaved(calls, repeats))
    error = np.abs(results[0] - results[1]).max()
    yield line(
        "J and F, 480x854, an object and frame",
        ours,
        reference=plain,
        error=float(error),
    )


def rows() -> Iterator[dict[str, Any]]:
    """All lines of this suite."""
    yield from tracking_rows()
    yield from region_rows()
