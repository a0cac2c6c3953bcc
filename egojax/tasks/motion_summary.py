"""What motion segmentation says of all its clips: metrics.json and its tables."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

from egojax.data import arrays, images
from egojax.data.runs import ClipFolder
from egojax.data.values import is_number
from egojax.errors import UsageError
from egojax.metrics import MotionScores, format_table
from egojax.metrics.schema import mean_of_results, to_json

COLUMNS = (
    *("J", "F", "bodies_IoU", "tracks_ARI", "tracks_FG-ARI"),
    *("points_ARI", "points_FG-ARI", "ids_first"),
)
SERIES = ("IoU", "IoU_by_truth")  # Of frames, which the protocols count.


def summary(folders: Mapping[str, ClipFolder], *, protocol: str) -> dict[str, Any]:
    """The numbers of all clips that are scored, and a table of them.

    Args:
      protocol: See `metrics.MOTION_PROTOCOLS`.
    """
    per_clip, scores = {}, {name: MotionScores() for name in SERIES}
    for name, folder in folders.items():
        path = folder.path / "scores.json"
        if path.exists():
            found = read_scores(path)
            per_clip[name] = found["names"]
            for kind, total in scores.items():
                scores[kind] = total.merge(_series(name, found["frames"], kind))
    scored = {name: row for name, row in per_clip.items() if "J" in row}
    if not scored:
        return {"clips": per_clip, "all": {}, "table": ""}
    together = mean_of_results([*scored.values()])
    counted = {kind: total.compute(protocol) for kind, total in scores.items()}
    together |= {"protocol": protocol, **counted["IoU"]}
    together["motion_IoU_by_truth"] = counted["IoU_by_truth"]["motion_IoU"]
    rows = {**scored, "mean": together} if len(scored) > 1 else scored
    columns = [n for n in COLUMNS if any(_is_known(row, n) for row in rows.values())]
    table = format_table(rows, columns, corner="what moves")
    return {
        "clips": to_json(per_clip),
        "all": to_json(together),
        "table": f"{table}\n{_counted_line(together)}",
    }


def _counted_line(together: Mapping[str, Any]) -> str:
    """What was counted frame by frame, in words."""
    line = (
        f"IoU of all that moves, protocol {together['protocol']}: "
        f"{100 * together['motion_IoU']:.1f} over {together['frames']} frames"
    )
    by_truth = together["motion_IoU_by_truth"]
    if math.isfinite(by_truth):  # Scores of an earlier version have none.
        line += (
            f"; {100 * by_truth:.1f} where in each frame the TRUTH picks what is in "
            "front, as published"
        )
    return line


def read_scores(path: pathlib.Path) -> dict[str, Any]:
    """What the score stage has left.

    Raises:
      UsageError: damaged.
    """
    found = arrays.read_json(path)
    parts = ("names", "frames", "pairs")
    if not isinstance(found, dict) or not all(
        isinstance(found.get(part), dict) for part in parts
    ):
        raise UsageError(f"{path}: no scores; --only=score writes them again")
    return found


def _series(
    name: str, frames: Mapping[str, Mapping[str, Any]], kind: str
) -> MotionScores:
    numbers = [images.last_number(frame) for frame in frames]
    known = [n if n is not None else t for t, n in enumerate(numbers)]
    iou = [row[kind] if _is_known(row, kind) else math.nan for row in frames.values()]
    return MotionScores().update(name, known, iou)


def _is_known(row: Mapping[str, Any], name: str) -> bool:
    return is_number(row.get(name)) and math.isfinite(row[name])
