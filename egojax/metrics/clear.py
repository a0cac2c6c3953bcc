"""CLEAR: misses, false alarms, identity switches, fragments (MOTA and its kin).

Source: Bernardin and Stiefelhagen 2008; TrackEval, clear.py, with its behaviour on
frames that lack one side: they leave the memory of the previous frame as it was.
Differs: frames in which nothing competes are matched all at once; only frames with a
conflict run in order.
"""

import math
from typing import Any

import numpy as np
from flax import struct

from egojax.metrics.matching import best_matching, is_alone
from egojax.metrics.overlap import EPS
from egojax.metrics.recorder import DetectionPairs

CLEAR_COUNTS = (
    "CLR_TP",
    "CLR_FN",
    "CLR_FP",
    "IDSW",
    "MT",
    "PT",
    "ML",
    "Frag",
    "CLR_Frames",
)
_SAME_ID_BONUS = 1000.0


@struct.dataclass
class ClearCounts:
    """What adds up over sequences."""

    CLR_TP: Any
    CLR_FN: Any
    CLR_FP: Any
    IDSW: Any
    MT: Any
    PT: Any
    ML: Any
    Frag: Any
    CLR_Frames: Any
    MOTP_sum: Any
    # A single sequence with an empty side reports fixed values (early return).
    num_sequences: Any
    num_one_sided: Any


def count_clear(pairs: DetectionPairs, threshold: float) -> ClearCounts:
    """Counts one sequence; a match needs a similarity of `threshold`."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold}, expected above 0 and at most 1")
    num_true, num_pred = len(pairs.true_rank), len(pairs.pred_rank)
    if num_true == 0 or num_pred == 0:
        # Everything is missed, or false; no frame is counted.
        lost = pairs.num_true_ids
        return ClearCounts(0, num_true, num_pred, 0, 0, 0, lost, 0, 0, 0.0, 1, 1)
    step = _processed_steps(pairs)
    matched = _match(pairs, step, threshold)
    row = pairs.true[matched]
    i, j, t = (
        pairs.true_rank[row],
        pairs.pred_rank[pairs.pred[matched]],
        step[pairs.true_frame[row]],
    )
    order = np.lexsort((t, i))
    i, j, t = i[order], j[order], t[order]
    again = i[1:] == i[:-1]
    # The first match of an id begins its first piece, which is not a fragment.
    fragments = np.count_nonzero(again & (t[1:] != t[:-1] + 1))
    present = np.bincount(pairs.true_rank, minlength=pairs.num_true_ids)
    ratio = np.bincount(i, minlength=pairs.num_true_ids) / present
    mostly = int(np.count_nonzero(ratio > 0.8))
    partly = int(np.count_nonzero(ratio >= 0.2)) - mostly
    tp = len(row)
    return ClearCounts(
        CLR_TP=tp,
        CLR_FN=num_true - tp,
        CLR_FP=num_pred - tp,
        IDSW=int(np.count_nonzero(again & (j[1:] != j[:-1]))),
        MT=mostly,
        PT=partly,
        ML=pairs.num_true_ids - mostly - partly,
        Frag=int(fragments),
        CLR_Frames=pairs.num_frames,
        MOTP_sum=float(np.sum(pairs.similarity[matched])),
        num_sequences=1,
        num_one_sided=0,
    )


def _processed_steps(pairs: DetectionPairs) -> np.ndarray:
    """Numbers the frames that have both sides; the others are skipped."""
    has_true = np.bincount(pairs.true_frame, minlength=pairs.num_frames) > 0
    has_pred = np.bincount(pairs.pred_frame, minlength=pairs.num_frames) > 0
    return np.cumsum(has_true & has_pred) - 1


def _match(pairs: DetectionPairs, step: np.ndarray, threshold: float) -> np.ndarray:
    """Rows of the matched pairs, preferring the match of the previous frame."""
    close = np.flatnonzero(pairs.similarity >= threshold - EPS)
    true, pred = pairs.true[close], pairs.pred[close]
    competing = ~(is_alone(true) & is_alone(pred))
    at = step[pairs.true_frame[true]]
    is_contested = np.isin(at, at[competing])
    id_pair = pairs.true_rank[true] * pairs.num_pred_ids + pairs.pred_rank[pred]
    chosen = ~is_contested
    # `close` is sorted by frame, so that each frame is one range of it.
    for frame in np.unique(at[is_contested]):
        low, high = np.searchsorted(at, [frame, frame + 1])
        before = slice(np.searchsorted(at, frame - 1), low)
        last = id_pair[before][chosen[before]]
        bonus = _SAME_ID_BONUS * np.isin(id_pair[low:high], last)
        chosen[low:high] = best_matching(
            np.zeros(high - low, np.int64),
            true[low:high],
            pred[low:high],
            bonus + pairs.similarity[close[low:high]],
        )
    return close[chosen]


def clear_summary(counts: ClearCounts) -> dict[str, Any]:
    """Counts and ratios."""
    out: dict[str, Any] = {name: int(getattr(counts, name)) for name in CLEAR_COUNTS}
    out["MOTP_sum"] = float(counts.MOTP_sum)
    tp, fn, fp, switches = (out[k] for k in ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW"))
    true, pred = max(1, tp + fn), max(1, tp + fp)
    tracks = max(1, out["MT"] + out["PT"] + out["ML"])
    log_switches = math.log10(switches) if switches > 0 else 0.0
    ratios = {
        "MOTA": (tp - fp - switches) / true,
        "MOTP": out["MOTP_sum"] / max(1, tp),
        "MODA": (tp - fp) / true,
        "CLR_Re": tp / true,
        "CLR_Pr": tp / pred,
        "MTR": out["MT"] / tracks,
        "PTR": out["PT"] / tracks,
        "MLR": out["ML"] / tracks,
        "sMOTA": (out["MOTP_sum"] - fp - switches) / true,
        "CLR_F1": tp / max(1, tp + fn / 2 + fp / 2),
        "FP_per_frame": fp / max(1, out["CLR_Frames"]),
        "MOTAL": (tp - fp - log_switches) / true,
    }
    if counts.num_sequences == counts.num_one_sided == 1:
        ratios = dict.fromkeys(ratios, 0.0) | {"MLR": 1.0}
    return out | ratios
