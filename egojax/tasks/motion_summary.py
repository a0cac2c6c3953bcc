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


def summary(folders: Mapping[str, ClipFolder], *, protocol: str) -> dict[str, Any]:
    """The numbers of all clips that are scored, and a table of them.

    Args:
      protocol: See `metrics.MOTION_PROTOCOLS`.
    """
    per_clip, scores = {}, MotionScores()
    for name, folder in folders.items():
        path = folder.path / "scores.json"
        if path.exists():
            found = read_scores(path)
            per_clip[name] = found["names"]
            scores = scores.merge(_series(name, found["frames"]))
    scored = {name: row for name, row in per_clip.items() if "J" in row}
    if not scored:
        return {"clips": per_clip, "all": {}, "table": ""}
    together = mean_of_results([*scored.values()])
    together |= {"protocol": protocol, **scores.compute(protocol)}
    rows = {**scored, "mean": together} if len(scored) > 1 else scored
    columns = [n for n in COLUMNS if any(_is_known(row, n) for row in rows.values())]
    table = format_table(rows, columns, corner="what moves")
    line = (
        f"IoU of all that moves, protocol {protocol}: "
        f"{100 * together['motion_IoU']:.1f} over {together['frames']} frames"
    )
    return {
        "clips": to_json(per_clip),
        "all": to_json(together),
        "table": f"{table}\n{line}",
    }


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


def _series(name: str, frames: Mapping[str, Mapping[str, Any]]) -> MotionScores:
    numbers = [images.last_number(frame) for frame in frames]
    known = [n if n is not None else t for t, n in enumerate(numbers)]
    iou = [row["IoU"] if _is_known(row, "IoU") else math.nan for row in frames.values()]
    return MotionScores().update(name, known, iou)


def _is_known(row: Mapping[str, Any], name: str) -> bool:
    return is_number(row.get(name)) and math.isfinite(row[name])
