"""`launch.py compare A B ...`: run folders side by side, with intervals over clips."""

import pathlib
from typing import Any

from egojax.data import arrays, runs
from egojax.errors import UsageError
from egojax.metrics import bootstrap_difference, bootstrap_interval
from egojax.metrics.schema import is_percent

COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW", "MOTA", "PCL_after_longest_absence")


def main(words: list[str]) -> int:
    """Prints the table; returns the exit code.

    Raises:
      UsageError: fewer than two folders, no run folders, or no clip in common.
    """
    options = [word for word in words if word.startswith("-")]
    if options or len(words) < 2:
        raise UsageError("compare: expected two or more run folders: compare DIR DIR")
    print(table([pathlib.Path(word) for word in words]))
    return 0


def table(paths: list[pathlib.Path]) -> str:
    """The runs' means over the clips they share, and the differences to the first."""
    results = [_clips_of(path) for path in paths]
    shared = [name for name in results[0] if all(name in r for r in results)]
    if not shared:
        raise UsageError(f"compare: {', '.join(map(str, paths))} share no scored clip")
    lines = [
        f"{len(shared)} clip(s) in common; "
        + (
            "mean over clips with 95 % bootstrap interval"
            if len(shared) > 1
            else "one clip says nothing about how far chance goes"
        )
    ]
    for column in COLUMNS:
        rows = [[_number(r[name].get(column)) for name in shared] for r in results]
        if any(value is None for row in rows for value in row):
            continue
        lines.append(f"\n{column}")
        for path, row in zip(paths, rows, strict=True):
            lines.append(f"  {path!s:40} {_mean_cell(column, row)}")
        for path, row in zip(paths[1:], rows[1:], strict=True):
            lines.append(f"  {path!s:40} {_difference_cell(column, rows[0], row)}")
    return "\n".join(lines)


def _clips_of(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    job = runs.open_run(path)["config"].get("job")
    if job != "tracking":
        raise UsageError(
            f"compare: {path} is a run of {job}, and tables are of tracking; `average` "
            "tells the numbers of one run or more"
        )
    file = path / "metrics.json"
    if not file.is_file():
        raise UsageError(f"{path}: no metrics.json; the run has not been scored")
    found = arrays.read_json(file)
    clips = found.get("clips", {}) if isinstance(found, dict) else None
    if not isinstance(clips, dict) or not all(
        isinstance(row, dict) for row in clips.values()
    ):
        raise UsageError(f"{file}: expected clips, with groups of numbers by name")
    return {name: row["after"] for name, row in clips.items() if row.get("after")}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _mean_cell(name: str, values: list[Any]) -> str:
    found = bootstrap_interval(values)
    scale = 100.0 if is_percent(name) else 1.0
    if len(values) < 2:
        return f"{scale * found.value:8.2f}"
    return (
        f"{scale * found.value:8.2f}  "
        f"[{scale * found.low:.2f}, {scale * found.high:.2f}]"
    )


def _difference_cell(name: str, first: list[Any], second: list[Any]) -> str:
    found = bootstrap_difference(first, second)
    scale = 100.0 if is_percent(name) else 1.0
    if len(first) < 2:
        return f"{scale * found.value:+8.2f}  to the first"
    verdict = "a difference" if found.is_significant else "no clear difference"
    return (
        f"{scale * found.value:+8.2f}  "
        f"[{scale * found.low:+.2f}, {scale * found.high:+.2f}]  {verdict} to the first"
    )
