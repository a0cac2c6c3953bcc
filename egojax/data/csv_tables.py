"""CSV tables of official releases, checked cell by cell; poses and times in them."""

import csv
import pathlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from egojax.errors import UsageError

EXPECTED = {int: "an integer", float: "a finite number", str: "text"}


def read_table(
    path: pathlib.Path,
    columns: Mapping[str, type],
    blank: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Reads the named columns of a CSV file; others are ignored.

    Args:
      columns: Their types: int (int64), float (float64, finite) or str.
      blank: Float columns in which an empty cell stands for "unknown" (NaN).

    Raises:
      UsageError: no such file, a column is missing, or cells that do not parse, a line
        each with its line number.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as err:
        raise UsageError(f"{path}: not a CSV table ({err})") from None
    missing = [name for name in columns if name not in header]
    if missing:
        raise UsageError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(header)}"
        )
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise UsageError(f"{path}: the column {', '.join(twice)} is there twice")
    numbered = [(line, row) for line, row in enumerate(rows, 2) if row]
    problems = [
        f"{path}:{line}: {len(row)} cells; the header has {len(header)}"
        for line, row in numbered
        if len(row) != len(header)
    ]
    if problems:
        raise UsageError.from_problems(problems)
    table = {}
    for name, kind in columns.items():
        cells = [row[header.index(name)].strip() for _, row in numbered]
        table[name], bad = _parse(cells, kind, name in blank)
        problems += [
            f"{path}:{numbered[i][0]}: {name} {cells[i]!r}; expected {EXPECTED[kind]}"
            for i in bad
        ]
    if problems:
        raise UsageError.from_problems(problems)
    return table


def _parse(cells: list[str], kind: type, blank: bool) -> tuple[np.ndarray, list[int]]:
    """The column, and the rows that do not parse."""
    if kind is str:
        return np.asarray(cells, np.str_), []
    out, bad = np.zeros(len(cells), np.int64 if kind is int else np.float64), []
    for i, cell in enumerate(cells):
        if blank and not cell:
            out[i] = np.nan
            continue
        try:
            out[i] = kind(cell)
        except (ValueError, OverflowError):
            bad.append(i)
            continue
        if not np.isfinite(out[i]):
            bad.append(i)
    return out, bad


def matrices(
    path: pathlib.Path, table: Mapping[str, np.ndarray], xyz: str, wxyz: str
) -> np.ndarray:
    """Rigid transforms (n, 4, 4) from columns of translations and quaternions.

    Args:
      xyz: Name of the translation columns with {} for the axis, as "t_wo_{}[m]".
      wxyz: Likewise for the quaternion, as "q_wo_{}".

    Raises:
      UsageError: a quaternion is not of unit length.
    """
    shift = np.stack([table[xyz.format(a)] for a in "xyz"], -1)
    turn = np.stack([table[wxyz.format(a)] for a in "xyzw"], -1)  # scipy's order.
    norm = np.linalg.norm(turn, axis=-1)
    bad = np.flatnonzero(np.abs(norm - 1) > 1e-2)
    if len(bad):
        raise UsageError.from_problems(
            f"{path}: row {i + 1}: a quaternion of length {norm[i]:.3g}, not 1"
            for i in bad
        )
    out = np.tile(np.eye(4), (len(shift), 1, 1))
    if len(shift):
        out[:, :3, :3] = Rotation.from_quat(turn).as_matrix()
        out[:, :3, 3] = shift
    return out


def rows_by_time(stamps: np.ndarray) -> dict[int, np.ndarray]:
    """The rows of a table for each time stamp, in their order."""
    order = np.argsort(stamps, kind="stable")
    times, first = np.unique(stamps[order], return_index=True)
    groups = np.split(order, first[1:]) if len(times) else []
    return dict(zip(times.tolist(), groups, strict=True))


def frame_rate(stamps: Sequence[int] | np.ndarray) -> float:
    """Frames a second of stamps in nanoseconds; 30 where there is but one."""
    return 1e9 / float(np.median(np.diff(stamps))) if len(stamps) > 1 else 30.0


def nearest(stamps: np.ndarray, t: int, tolerance: int) -> int | None:
    """Index of the stamp (ascending) nearest to t, None beyond the tolerance."""
    if not len(stamps):
        return None
    at = int(np.searchsorted(stamps, t))
    near = [i for i in (at - 1, at) if 0 <= i < len(stamps)]
    best = min(near, key=lambda i: abs(int(stamps[i]) - t))
    return best if abs(int(stamps[best]) - t) <= tolerance else None
