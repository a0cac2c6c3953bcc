"""The table of a sweep: one row a setting, what differs, its numbers, the best one.

A number has the name that it has in "all" of metrics.json, inner objects with dots:
"before.HOTA". Where a job scores more than its answer, "HOTA" is its answer's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sweep_jobs import FINISHED, Record, read_numbers
from sweep_settings import Job, Sweep, name_of, text_of

from egojax.apps import compare
from egojax.errors import UsageError
from egojax.metrics import format_table
from egojax.metrics.schema import format_number, mean_of_results

# What a job's answer is called beside its input, or beside what it was trained on.
ANSWERS = ("after.", "held_out.")
MOST_COLUMNS = 8  # If nobody names them and the job's are not known.

Numbers = Mapping[str, float | None]


class Row(NamedTuple):
    """What came of a setting."""

    name: str
    overrides: Mapping[str, Any]
    state: str  # done | some skipped | failed
    numbers: Numbers  # Empty unless all of its runs have finished.
    fault: str = ""  # Why there are none although they have.


def rows_of(sweep: Sweep, jobs: Sequence[Job], records: Sequence[Record]) -> list[Row]:
    """A row a setting, in the sweep's order.

    Args:
      records: One a job.
    """
    rows = []
    for k, setting in enumerate(sweep.settings):
        mine = [i for i, job in enumerate(jobs) if job.setting == k]
        codes = [records[i].exit_code for i in mine]
        state, fault = "some skipped" if 3 in codes else "done", ""
        numbers: Numbers = {}
        if not all(code in FINISHED for code in codes):
            state = "failed"
        else:
            try:
                folders = dict.fromkeys(jobs[i].folder for i in mine)
                numbers = mean([read_numbers(folder) for folder in folders])
            except UsageError as err:
                state, fault = "failed", str(err)
        rows.append(Row(name_of(setting), setting, state, numbers, fault))
    return rows


def mean(runs: Sequence[Numbers]) -> Numbers:
    """The mean of every number over runs; a single run's stay as they are."""
    if len(runs) == 1:
        return runs[0]
    filled = [{k: math.nan if v is None else v for k, v in r.items()} for r in runs]
    found = mean_of_results(filled)
    return {name: None if math.isnan(v) else v for name, v in found.items()}


def number(row: Row, column: str) -> float | None:
    """A number by its name, or by its name in the job's answer."""
    return next((row.numbers[n] for n in _names(column) if n in row.numbers), None)


def _names(column: str) -> list[str]:
    return [column, *(answer + column for answer in ANSWERS)]


def known(rows: Sequence[Row]) -> list[str]:
    """The names of the numbers of the answer; of all, if none is marked as that."""
    names = dict.fromkeys(name for row in rows for name in row.numbers)
    mine = [name for name in names if name.startswith(ANSWERS)]
    return [name.partition(".")[2] for name in mine] or list(names)


def columns_of(rows: Sequence[Row], asked: Sequence[str]) -> list[str]:
    """The numbers that a table shows: those asked for, or the job's main ones."""
    names = known(rows)
    return list(
        asked
        or [name for name in compare.COLUMNS if name in names]
        or names[:MOST_COLUMNS]
    )


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fields that tell settings apart; of a single setting, all of its fields."""
    fields = dict.fromkeys(field for setting in settings for field in setting)
    values = {f: {text_of(s[f]) if f in s else None for s in settings} for f in fields}
    return [f for f in fields if len(settings) == 1 or len(values[f]) > 1]


def split_best(text: str) -> tuple[str, bool]:
    """ "HOTA:max" as the name and whether more is better.

    Raises:
      UsageError: neither max nor min.
    """
    name, _, end = text.rpartition(":")
    if not name or end not in ("max", "min"):
        raise UsageError(f"--best={text}: expected NAME:max or NAME:min")
    return name, end == "max"


def best_row(rows: Sequence[Row], text: str) -> int | None:
    """The position of the best row, the first of equals; None if none has the number.

    Args:
      text: See `split_best`; "" = no row.
    """
    if not text:
        return None
    name, is_max = split_best(text)
    found = {k: v for k, row in enumerate(rows) if (v := number(row, name)) is not None}
    if not found:
        return None
    return (max if is_max else min)(found, key=found.__getitem__)


def unknown_columns(
    rows: Sequence[Row], columns: Sequence[str], best: str
) -> list[str]:
    """A line for each number that was asked for and that no row has."""
    if not known(rows):
        return []
    asked = [*columns, *([split_best(best)[0]] if best else [])]
    missing = [n for n in dict.fromkeys(asked) if all(not _has(row, n) for row in rows)]
    some = ", ".join(known(rows)[:MOST_COLUMNS])
    return [f"no run has a number {name}; there are {some}, ..." for name in missing]


def _has(row: Row, name: str) -> bool:
    return not row.numbers.keys().isdisjoint(_names(name))


def table(rows: Sequence[Row], columns: Sequence[str], best: int | None = None) -> str:
    """The Markdown table; a column `state` only where not all is done."""
    fields = differing([row.overrides for row in rows])
    told = [] if all(row.state == "done" for row in rows) else ["state"]
    cells = {}
    for k, row in enumerate(rows):
        mark = f"{k + 1} best" if k == best else f"{k + 1}"
        cells[mark] = {
            **{f: text_of(row.overrides[f]) for f in fields if f in row.overrides},
            **{c: format_number(c.split(".")[-1], number(row, c)) for c in columns},
            "state": row.state,
        }
    return format_table(cells, [*fields, *columns, *told], corner="#")


def as_json(
    sweep: Sweep, rows: Sequence[Row], columns: Sequence[str], best: int | None
) -> dict[str, Any]:
    """What sweep.json holds: all numbers, not only those of the table."""
    return {
        "sweep": sweep.name,
        "config": sweep.config,
        "mode": sweep.mode,
        "clips": sweep.clips,
        "jobs": sweep.jobs,
        "columns": columns,
        "best": None if best is None else rows[best].name,
        "rows": [row._asdict() for row in rows],
    }
