"""HOTA: detection, association and localisation accuracy of tracks.

Symbols: alpha is the similarity that a match needs, 19 values; S the similarity; n_i
and m_j the numbers of frames of true id i and predicted id j; C the number of frames in
which the two are matched.

Source: Luiten et al. 2021, "HOTA: A Higher Order Metric for Evaluating Multi-Object
Tracking"; TrackEval, hota.py.
Differs: sparse, over all frames at once. Pairs without overlap never count, so they
take no part in the matching.
"""

from typing import Any

import numpy as np
from flax import struct

from egojax.metrics.matching import best_matching
from egojax.metrics.overlap import EPS
from egojax.metrics.recorder import DetectionPairs

ALPHAS = np.arange(0.05, 0.99, 0.05)
HOTA_FIELDS = (
    "HOTA",
    "DetA",
    "AssA",
    "DetRe",
    "DetPr",
    "AssRe",
    "AssPr",
    "LocA",
    "OWTA",
)


@struct.dataclass
class HotaCounts:
    """What adds up over sequences, one value per alpha (float64 (19,))."""

    TP: Any
    FN: Any
    FP: Any
    AssA_sum: Any  # AssA * TP, and so on: averages are weighted by TP.
    AssRe_sum: Any
    AssPr_sum: Any
    LocA_sum: Any  # Similarity of the matches.


def count_hota(pairs: DetectionPairs) -> HotaCounts:
    """Counts one sequence."""
    i, j = pairs.true_rank[pairs.true], pairs.pred_rank[pairs.pred]
    n = np.bincount(pairs.true_rank, minlength=pairs.num_true_ids)
    m = np.bincount(pairs.pred_rank, minlength=pairs.num_pred_ids)
    width = max(1, pairs.num_pred_ids)
    # The id pairs that ever overlap, and which of them each pair of detections is.
    id_pair, k = np.unique(i * width + j, return_inverse=True)
    n_k, m_k = n[id_pair // width], m[id_pair % width]
    aligned = np.bincount(k, _relative_overlap(pairs), len(id_pair))
    quality = aligned / (n_k + m_k - aligned)
    matched = best_matching(
        pairs.frame, pairs.true, pairs.pred, quality[k] * pairs.similarity
    )
    s, k = pairs.similarity[matched], k[matched]
    rows = []
    for alpha in ALPHAS:
        kept = s >= alpha - EPS
        c = np.bincount(k[kept], minlength=len(id_pair))
        rows.append(
            (
                np.count_nonzero(kept),
                np.sum(c * c / np.maximum(1, n_k + m_k - c)),
                np.sum(c * c / np.maximum(1, n_k)),
                np.sum(c * c / np.maximum(1, m_k)),
                np.sum(s[kept]),
            )
        )
    tp, ass_a, ass_re, ass_pr, loc = np.array(rows, np.float64).T
    fn, fp = len(pairs.true_rank) - tp, len(pairs.pred_rank) - tp
    return HotaCounts(tp, fn, fp, ass_a, ass_re, ass_pr, loc)


def _relative_overlap(pairs: DetectionPairs) -> np.ndarray:
    """Each pair's similarity over all that its two detections have in the frame."""
    s = pairs.similarity
    of_true = np.bincount(pairs.true, s, len(pairs.true_rank))[pairs.true]
    of_pred = np.bincount(pairs.pred, s, len(pairs.pred_rank))[pairs.pred]
    total = of_true + of_pred - s
    return np.divide(s, total, out=np.zeros_like(s), where=total > EPS)


def hota_by_alpha(counts: HotaCounts) -> dict[str, np.ndarray]:
    """The final fields, an array over alpha each, and the three counts."""
    tp, fn, fp = counts.TP, counts.FN, counts.FP
    some_tp = np.maximum(1, tp)
    out = {
        "AssA": counts.AssA_sum / some_tp,
        "AssRe": counts.AssRe_sum / some_tp,
        "AssPr": counts.AssPr_sum / some_tp,
        # 1 where nothing matches.
        "LocA": np.maximum(1e-10, counts.LocA_sum) / np.maximum(1e-10, tp),
        "DetRe": tp / np.maximum(1, tp + fn),
        "DetPr": tp / np.maximum(1, tp + fp),
        "DetA": tp / np.maximum(1, tp + fn + fp),
    }
    out["HOTA"] = np.sqrt(out["DetA"] * out["AssA"])
    out["OWTA"] = np.sqrt(out["DetRe"] * out["AssA"])
    return out | {"HOTA_TP": tp, "HOTA_FN": fn, "HOTA_FP": fp}


def hota_summary(by_alpha: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means over alpha under the plain names, arrays under `NAME_by_alpha`."""
    out: dict[str, Any] = {name: float(by_alpha[name].mean()) for name in HOTA_FIELDS}
    out["HOTA(0)"] = float(by_alpha["HOTA"][0])
    out["LocA(0)"] = float(by_alpha["LocA"][0])
    out["HOTALocA(0)"] = out["HOTA(0)"] * out["LocA(0)"]
    return out | {f"{name}_by_alpha": a.tolist() for name, a in by_alpha.items()}
