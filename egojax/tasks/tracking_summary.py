"""What the tracking job says of all its clips: metrics.json and its tables."""

from collections.abc import Mapping
from typing import Any

from egojax.data import results
from egojax.data.runs import ClipFolder
from egojax.metrics import combine_sequences, format_table
from egojax.metrics.schema import mean_of_results, to_json

COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW", "MOTA")
PROTOCOL = "egoseg3d_protocol"  # Mean over videos of classes put together.
ROWS = {"before": "2D ids", "after": "tracks", "bound": "true ids (the bound)"}


def summary(folders: Mapping[str, ClipFolder]) -> dict[str, Any]:
    """The numbers of all clips that are scored, and a table of them."""
    per_clip: dict[str, Any] = {}
    counts: dict[str, list[Any]] = {key: [] for key in ROWS}
    protocol: dict[str, list[Any]] = {key: [] for key in ROWS}
    lines = []
    for name, folder in folders.items():
        scores = results.read_scores(folder.path)
        for key, row in scores.items():
            per_clip.setdefault(name, {})[key] = row["numbers"]
            counts[key].append(row["tracking"])
            if PROTOCOL in row["numbers"]:
                numbers = row["numbers"][PROTOCOL]
                protocol[key].append({k: numbers[k] for k in numbers if k != "skipped"})
        geometry = results.read_geometry(folder.path)
        if geometry:
            per_clip.setdefault(name, {})["geometry"] = geometry
            lines.append(_geometry_line(name, geometry))
    together = {
        key: combine_sequences(rows).compute() for key, rows in counts.items() if rows
    }
    named = {ROWS[key]: row for key, row in together.items()}
    tables = [format_table(named, COLUMNS)] if named else []
    means = {key: mean_of_results(rows) for key, rows in protocol.items() if rows}
    if means:
        named = {ROWS[key]: row for key, row in means.items()}
        corner = "EgoSeg3D protocol, by class"
        tables.append(format_table(named, COLUMNS, corner=corner))
    return {
        "clips": per_clip,
        "all": to_json(together),
        PROTOCOL: to_json(means),
        "table": "\n\n".join([*tables, "\n".join(filter(None, lines))]).strip(),
    }


def _geometry_line(name: str, geometry: Mapping[str, float | None]) -> str:
    """What is known of depth and places; numbers that are undefined are left out."""
    known = {key: value for key, value in geometry.items() if value is not None}
    parts = []
    error = "depth_abs_relative_difference"
    if f"{error}_before" in known and f"{error}_after" in known:
        before, after = known[f"{error}_before"], known[f"{error}_after"]
        parts.append(f"depth AbsRel {before:.3f} before, {after:.3f} aligned")
    if "scale_error" in known:
        parts.append(f"scale off by at most {100 * known['scale_error']:.2f} %")
    if "lift_center_median" in known:
        parts.append(
            f"{known['lift_count']:.0f} points lifted, "
            f"{known['lift_center_median']:.3f} m from the object's centre "
            f"(90 %: {known['lift_center_p90']:.3f} m)"
        )
    if "reprojection_median" in known:
        parts.append(
            f"true centres {known['reprojection_median']:.1f} px from their "
            f"segments (90 %: {known['reprojection_p90']:.1f} px)"
        )
    if "lift_box_median" in known:
        parts.append(
            f"{known['lift_box_median']:.3f} m outside its box "
            f"(90 %: {known['lift_box_p90']:.3f} m)"
        )
    return f"{name}: {'; '.join(parts)}" if parts else ""
