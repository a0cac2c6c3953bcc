"""Identity (IDF1), Count and VACE: whole tracks against whole tracks.

Source: Ristani et al. 2016 (IDF1); Manohar et al. 2006 (VACE); TrackEval, identity.py,
count.py, vace.py.
"""

from typing import Any

import numpy as np
from flax import struct
from scipy import sparse

from egojax.metrics.matching import best_matching
from egojax.metrics.recorder import DetectionPairs


@struct.dataclass
class IdentityCounts:
    """Detections inside and outside of the best pairing of ids."""

    IDTP: Any
    IDFN: Any
    IDFP: Any


@struct.dataclass
class DetectionCounts:
    """How much there is."""

    Dets: Any
    GT_Dets: Any
    IDs: Any
    GT_IDs: Any
    Frames: Any


@struct.dataclass
class VaceCounts:
    """Sums of temporal overlap over ids, and of spatial overlap over frames."""

    STDA: Any
    VACE_IDs: Any
    VACE_GT_IDs: Any
    FDA: Any
    num_non_empty_timesteps: Any


def count_identity(pairs: DetectionPairs, threshold: float) -> IdentityCounts:
    """Counts one sequence. The threshold is compared without a margin."""
    row, col, shared = _shared_frames(pairs, threshold)
    paired = best_matching(np.zeros_like(row), row, col, shared.astype(float))
    tp = int(shared[paired].sum())
    return IdentityCounts(tp, len(pairs.true_rank) - tp, len(pairs.pred_rank) - tp)


def count_detections(pairs: DetectionPairs) -> DetectionCounts:
    """Counts detections, ids and frames of one sequence."""
    return DetectionCounts(
        Dets=len(pairs.pred_rank),
        GT_Dets=len(pairs.true_rank),
        IDs=pairs.num_pred_ids,
        GT_IDs=pairs.num_true_ids,
        Frames=pairs.num_frames,
    )


def count_vace(pairs: DetectionPairs) -> VaceCounts:
    """Sums one sequence; ids share a frame where their similarity is at least 0.5."""
    row, col, shared = _shared_frames(pairs, 0.5)
    overlap = shared / np.maximum(1, _either_frames(pairs, row, col))
    paired = best_matching(np.zeros_like(row), row, col, overlap)
    num_true = np.bincount(pairs.true_frame, minlength=pairs.num_frames)
    num_pred = np.bincount(pairs.pred_frame, minlength=pairs.num_frames)
    matched = best_matching(pairs.frame, pairs.true, pairs.pred, pairs.similarity)
    size = (num_true + num_pred)[pairs.frame[matched]] / 2
    return VaceCounts(
        STDA=float(overlap[paired].sum()),
        VACE_IDs=pairs.num_pred_ids,
        VACE_GT_IDs=pairs.num_true_ids,
        FDA=float(np.sum(pairs.similarity[matched] / size)),
        num_non_empty_timesteps=int(np.count_nonzero(num_true + num_pred)),
    )


def _shared_frames(
    pairs: DetectionPairs, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True rank, predicted rank, number of frames of the id pairs that ever match."""
    close = pairs.similarity >= threshold
    width = max(1, pairs.num_pred_ids)
    key = (
        pairs.true_rank[pairs.true[close]] * width + pairs.pred_rank[pairs.pred[close]]
    )
    id_pair, shared = np.unique(key, return_counts=True)
    return id_pair // width, id_pair % width, shared


def _either_frames(
    pairs: DetectionPairs, row: np.ndarray, col: np.ndarray
) -> np.ndarray:
    """In how many frames at least one id of each pair occurs, overlapping or not."""
    frames = pairs.num_frames
    present = [
        sparse.csr_array(
            (np.ones(len(rank), np.int32), (rank, frame)), shape=(count, frames)
        )
        for rank, frame, count in (
            (pairs.true_rank, pairs.true_frame, pairs.num_true_ids),
            (pairs.pred_rank, pairs.pred_frame, pairs.num_pred_ids),
        )
    ]
    n, m = (np.asarray(p.sum(axis=1)).reshape(-1) for p in present)
    if not row.size:
        return np.zeros(0, np.int64)
    both = (present[0] @ present[1].T).tocsr()
    return n[row] + m[col] - np.asarray(both[row, col]).reshape(-1)


def identity_summary(counts: IdentityCounts) -> dict[str, Any]:
    """Counts and ratios."""
    tp, fn, fp = (int(v) for v in (counts.IDTP, counts.IDFN, counts.IDFP))
    return {
        "IDTP": tp,
        "IDFN": fn,
        "IDFP": fp,
        "IDR": tp / max(1, tp + fn),
        "IDP": tp / max(1, tp + fp),
        "IDF1": tp / max(1, tp + fp / 2 + fn / 2),
    }


def detection_summary(counts: DetectionCounts) -> dict[str, Any]:
    """The counts as they are."""
    return {name: int(value) for name, value in vars(counts).items()}


def vace_summary(counts: VaceCounts) -> dict[str, Any]:
    """Sums and ratios; a ratio of nothing is NaN."""
    ids, steps = counts.VACE_IDs + counts.VACE_GT_IDs, counts.num_non_empty_timesteps
    return {
        "STDA": float(counts.STDA),
        "VACE_IDs": int(counts.VACE_IDs),
        "VACE_GT_IDs": int(counts.VACE_GT_IDs),
        "FDA": float(counts.FDA),
        "num_non_empty_timesteps": int(steps),
        "ATA": float(counts.STDA / (ids / 2)) if ids else float("nan"),
        "SFDA": float(counts.FDA / steps) if steps else float("nan"),
    }
