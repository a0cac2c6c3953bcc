"""What the decomposition job says of all its clips: metrics.json, tables, metrics.txt.

A benchmark's number is the plain mean over its scenes.
"""

import math
from collections.abc import Mapping
from typing import Any

from egojax.data import arrays
from egojax.data.runs import ClipFolder
from egojax.metrics import format_table
from egojax.metrics.schema import mean_of_results, to_json

COLUMNS = (
    *("psnr", "psnr_static", "psnr_dynamic", "ssim_gauss11_valid"),
    *("mAP", "mAP_moving", "mAP_actor", "static_depth_abs_relative_difference"),
)
SHORT = {
    "ssim_gauss11_valid": "ssim",
    "static_depth_abs_relative_difference": "static_AbsRel",
}
ROWS = {"held_out": "held-out frames", "train": "training frames", "test": "EPIC-Diff"}


def summary(folders: Mapping[str, ClipFolder]) -> dict[str, Any]:
    """The numbers of all clips that are scored, and a table of them."""
    per_clip = {}
    for name, folder in folders.items():
        path = folder.path / "scores.json"
        if path.exists():
            per_clip[name] = arrays.read_json(path)["names"]
    together = {}
    for key in ROWS:
        rows = [_numbers(found[key]) for found in per_clip.values() if key in found]
        if rows:
            together[key] = mean_of_results(rows)
    tables = []
    if together:
        named = {ROWS[key]: _short(row) for key, row in together.items()}
        tables.append(format_table(named, _columns(together), corner=_corner(per_clip)))
    if len(per_clip) > 1:
        rows = {n: found.get("held_out", {}) for n, found in per_clip.items()}
        named = {name: _short(_numbers(row)) for name, row in rows.items()}
        table = format_table(named, _columns(rows), corner="held-out frames of")
        tables.append(table)
    return {
        "clips": per_clip,
        "all": to_json(together),
        "table": "\n\n".join(tables),
    }


def _corner(per_clip: Mapping[str, Any]) -> str:
    return f"mean over {len(per_clip)} clips" if len(per_clip) > 1 else ""


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """With NaN where JSON has null."""
    return {k: math.nan if v is None else v for k, v in row.items()}


def _columns(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those that any row has."""
    known = {
        k
        for row in rows.values()
        for k, v in row.items()
        if v is not None and not math.isnan(v)
    }
    return [SHORT.get(name, name) for name in COLUMNS if name in known]


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
