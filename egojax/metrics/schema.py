"""One form for all results: a flat dictionary of numbers, and what is made of it.

Values are in [0, 1] or in their natural range; NaN means "undefined, no data". Tables
multiply by 100 where the field does, JSON writes NaN as null. The names `J&F-dot`,
`pHOTA` and `MOS-I` are kept free for measures to come.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Names that the field prints times 100. A name's suffix (`_by_alpha`, `_R0.5`, `@60`)
# does not matter.
PERCENT = frozenset(
    [
        "HOTA",
        "DetA",
        "AssA",
        "DetRe",
        "DetPr",
        "AssRe",
        "AssPr",
        "LocA",
        "OWTA",
        "HOTA(0)",
        "LocA(0)",
        "HOTALocA(0)",
        "MOTA",
        "MOTP",
        "MODA",
        "sMOTA",
        "MOTAL",
        "CLR_Re",
        "CLR_Pr",
        "CLR_F1",
        "MTR",
        "PTR",
        "MLR",
        "IDF1",
        "IDR",
        "IDP",
        "ATA",
        "SFDA",
        "AP",
        "AR",
        "mAP",
        "J&F-Mean",
        "J-Mean",
        "J-Recall",
        "J-Decay",
        "F-Mean",
        "F-Recall",
        "F-Decay",
        "AJ",
        "AJ_RD",
        "occlusion_accuracy",
        "average_jaccard",
        "average_pts_within_thresh",
        "jaccard",
        "pts_within",
        "PCL",
        "motion_IoU",
        "ARI",
        "FG-ARI",
        "identity_survival",
    ]
)

# Names with a fixed number of decimals, where four digits would tell too little or too
# much; with or without a suffix.
DECIMALS = {"psnr": 2, "ssim": 4, "lpips": 4}


def is_percent(name: str) -> bool:
    """Whether tables print this number times 100."""
    return any(_is_named(name, known) for known in PERCENT)


def _is_named(name: str, known: str) -> bool:
    """Whether a name is a known one, or that with a suffix."""
    return name == known or re.match(re.escape(known) + r"[_@]", name) is not None


def to_json(value: Any) -> Any:
    """Plain containers and numbers: arrays as lists, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def nan_mean(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN if there is nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def mean_of_results(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of every number over results of the same names; NaN is skipped."""
    names = list(dict.fromkeys(name for result in results for name in result))
    out = {}
    for name in names:
        table = np.array([r[name] for r in results if name in r], np.float64)
        filled = ~np.isnan(table)
        count = filled.sum(axis=0)
        total = np.where(filled, table, 0.0).sum(axis=0)
        mean = np.divide(
            total, count, out=np.full(np.shape(total), np.nan), where=count > 0
        )
        out[name] = mean.tolist()
    return out


def format_table(
    rows: Mapping[str, Mapping[str, Any]],
    columns: Iterable[str] | None = None,
    *,
    corner: str = "",
) -> str:
    """Results side by side, a line each, as a Markdown table.

    Args:
      rows: Name of the row to its result.
      columns: Names of numbers, in order; by default all that are single numbers.
      corner: The heading of the first column.

    Returns:
      Text without a final line break; counts as integers, ratios times 100 with one
      decimal where the field prints them so, "-" where undefined.
    """
    if columns is None:
        names = dict.fromkeys(name for row in rows.values() for name in row)
        columns = [
            n
            for n in names
            if all(not isinstance(r.get(n), list) for r in rows.values())
        ]
    columns = list(columns)
    cells = [[corner, *columns]]
    cells += [
        [key, *(format_number(c, row.get(c)) for c in columns)]
        for key, row in rows.items()
    ]
    # Two characters at least, for the "-:" of a column of numbers.
    widths = [max(2, *(len(line[k]) for line in cells)) for k in range(len(cells[0]))]
    cells.insert(1, ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])])
    # Names to the left, numbers to the right.
    forms = [f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])]
    return "\n".join("| " + " | ".join(forms).format(*line) + " |" for line in cells)


def format_number(name: str, value: Any) -> str:
    """One number as tables print it."""
    if value is None or isinstance(value, str):
        return value or "-"
    number = float(value)
    undefined = number == -1 and name.startswith(("AP", "AR", "PCL"))
    if undefined or math.isnan(number):
        return "-"
    if is_percent(name):
        return f"{100 * number:.1f}"
    if isinstance(value, int | np.integer):
        return str(int(value))
    for known, decimals in DECIMALS.items():
        if _is_named(name, known):
            return f"{number:.{decimals}f}"
    return f"{number:.4g}"
