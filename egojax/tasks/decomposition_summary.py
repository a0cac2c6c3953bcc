"""What the decomposition job says of all its clips: metrics.json, tables, metrics.txt.

A benchmark's number is the plain mean over its scenes: those that have the number,
but for UDOS of EPIC Fields, in which one without counts as 0.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

from egojax.data import arrays
from egojax.data.runs import ClipFolder
from egojax.errors import UsageError
from egojax.methods.benchmark_scores import NEW_VIEWS, UDOS
from egojax.metrics import UDOS_NAMES, format_table, udos_mean_over_videos
from egojax.metrics.schema import mean_of_results, to_json

COLUMNS = (
    *("psnr", "psnr_static", "psnr_dynamic", "ssim_gauss11_valid"),
    *("mAP", "mAP_moving", "mAP_actor", "static_depth_abs_relative_difference"),
)
SHORT = {
    "ssim_gauss11_valid": "ssim",
    "static_depth_abs_relative_difference": "static_AbsRel",
}
ROWS = {
    "held_out": "held-out frames",
    "train": "training frames",
    "test": "annotated test frames",
}
BENCHMARK_ROWS = {
    **{key: name.replace("_", " ") for name, key in NEW_VIEWS.items()},
    UDOS: "UDOS",
}
BENCHMARK_COLUMNS = (
    *("psnr", "psnr_foreground", "psnr_background"),
    *UDOS_NAMES,
    "num_videos",
)


def summary(folders: Mapping[str, ClipFolder]) -> dict[str, Any]:
    """The numbers of all clips that are scored, and a table of them."""
    per_clip = {}
    for name, folder in folders.items():
        path = folder.path / "scores.json"
        if path.exists():
            per_clip[name] = _groups_in(path)
    together = means_over_scenes(per_clip)
    tables = []
    named = {ROWS[k]: _short(together[k]) for k in ROWS if k in together}
    if named:
        tables.append(format_table(named, _columns(named), corner=_corner(per_clip)))
    benchmark = {n: together[k] for k, n in BENCHMARK_ROWS.items() if k in together}
    if benchmark:
        columns = [n for n in BENCHMARK_COLUMNS if _is_known(n, benchmark)]
        tables.append(format_table(benchmark, columns, corner="EPIC Fields"))
    if len(per_clip) > 1:
        rows = {n: found.get("held_out", {}) for n, found in per_clip.items()}
        named = {name: _short(_numbers(row)) for name, row in rows.items()}
        table = format_table(named, _columns(named), corner="held-out frames of")
        tables.append(table)
    return {
        "clips": per_clip,
        "all": to_json(together),
        "table": "\n\n".join(tables),
    }


def _groups_in(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    found = arrays.read_json(path)
    groups = found.get("names") if isinstance(found, dict) else None
    if not isinstance(groups, dict) or not all(
        isinstance(row, dict) for row in groups.values()
    ):
        raise UsageError(f"{path}: no scores; --only=score writes them again")
    return groups


def means_over_scenes(
    per_clip: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> dict[str, dict[str, Any]]:
    """The mean of each number over scenes, by group.

    Args:
      per_clip: Scene, group, name of the number; None is undefined.

    Returns:
      A scene without the group, or without the number, is left out, but for UDOS: there
      a video without the number counts as 0. The groups of EPIC Fields also say
      `num_videos`, how many have the group.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for groups in per_clip.values():
        for key, row in groups.items():
            found.setdefault(key, []).append(_numbers(row))
    means = {}
    for key, rows in found.items():
        means[key] = (
            udos_mean_over_videos(rows) if key == UDOS else mean_of_results(rows)
        )
        if key in BENCHMARK_ROWS:
            means[key]["num_videos"] = len(rows)
    return means


def _corner(per_clip: Mapping[str, Any]) -> str:
    return f"mean over {len(per_clip)} clips" if len(per_clip) > 1 else ""


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """With NaN where JSON has null."""
    return {k: math.nan if v is None else v for k, v in row.items()}


def _columns(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those that any row has."""
    names = [SHORT.get(name, name) for name in COLUMNS]
    return [name for name in names if _is_known(name, rows)]


def _is_known(name: str, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(not math.isnan(row.get(name, math.nan)) for row in rows.values())


def _short(row: Mapping[str, float]) -> dict[str, float]:
    return {SHORT.get(name, name): value for name, value in row.items()}


def official_metrics(numbers: Mapping[str, float]) -> str:
    """The published metrics.txt of a scene.

    Differs: numbers are rounded to as many digits as the published ones are cut to;
    an average precision of 1 is 1.0000, where the published one becomes .0000.
    """
    precision = f"{numbers['mAP']:.4f}"
    values = (precision.removeprefix("0"), f"{numbers['psnr']:.2f}")
    return "Epoch: None.\navgpre\tpsnr\t\n" + "\t".join(values) + "\t\n"
