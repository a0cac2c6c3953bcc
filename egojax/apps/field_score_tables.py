"""The scores of a decomposed clip, and the sections of its report that show them."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from egojax.apps import page
from egojax.apps.figures import escape
from egojax.apps.report_parts import number
from egojax.data import arrays
from egojax.errors import UsageError
from egojax.metrics.schema import format_number
from egojax.tasks.decomposition_summary import BENCHMARK_COLUMNS, BENCHMARK_ROWS

# Numbers of the table: how they are called, and what they say.
NUMBERS = {
    "psnr": ("PSNR, dB", "of whole frames"),
    "psnr_static": ("PSNR static, dB", "of pixels where nothing moves in truth"),
    "psnr_dynamic": ("PSNR dynamic, dB", "of pixels that move in truth"),
    "ssim_gauss11_valid": ("SSIM", "structural similarity of whole frames"),
    "mAP": ("mAP", "soft mask of all that moves, actor included"),
    "mAP_moving": ("mAP moving", "soft mask of the moving stream"),
    "mAP_actor": ("mAP actor", "soft mask of the actor stream"),
}
PLACED = (
    " Poses were refined in training; frames that were held out were placed by their "
    "own images, while the field stayed as it was."
)
SPLITS = {"held_out": "held out", "train": "trained on"}


class Scores(NamedTuple):
    """What `scores.json` says; each part may be empty."""

    names: Mapping[str, Mapping[str, Any]]  # By split: means over its frames.
    frames: Mapping[str, Mapping[str, Any]]  # By frame.
    about: Mapping[str, Any]


def read_scores(folder: pathlib.Path) -> Scores:
    """Reads `scores.json`; nothing where it is not there.

    Raises:
      UsageError: it holds no scores.
    """
    path = folder / "scores.json"
    found = arrays.read_json(path) if path.exists() else {}
    parts = (
        [found.get(n, {}) for n in Scores._fields] if isinstance(found, dict) else []
    )
    tables = [
        row for part in parts[:2] if isinstance(part, dict) for row in part.values()
    ]
    if not parts or not all(isinstance(part, dict) for part in (*parts, *tables)):
        raise UsageError(f"{path}: no scores; --only=score writes them again")
    return Scores(*parts)


def scores_section(scores: Scores, *, placed: bool) -> str:
    """Means over frames; `placed` if frames were held out and then placed."""
    splits = [split for split in SPLITS if split in scores.names]
    if not splits:
        return page.section("Scores", "Nothing was scored.", "")
    columns = [scores.names[split] for split in splits]
    known = list(dict.fromkeys(name for column in columns for name in column))
    main = [
        _row(name, *NUMBERS[name], columns)
        for name in NUMBERS
        if any(math.isfinite(number(c.get(name))) for c in columns)
    ]
    rest = [_row(name, name, "", columns) for name in known]
    heads = ["", *(SPLITS[split] for split in splits)]
    body = page.table(heads, main)
    body += page.fold("All numbers", page.table(heads, rest))
    lead = (
        "Means over frames; mAP is average precision times 100. The field has not seen "
        "the frames that were held out."
    )
    if not any(math.isfinite(number(c.get("mAP"))) for c in columns):
        lead += " What moves in truth is not known here, so masks are not scored."
    return page.section("Scores", lead + PLACED * placed, body)


def benchmark_section(scores: Scores) -> str:
    """The groups of EPIC Fields; empty where its protocols were not asked for."""
    rows = {t: scores.names[k] for k, t in BENCHMARK_ROWS.items() if k in scores.names}
    columns = [
        name
        for name in BENCHMARK_COLUMNS
        if any(_is_number(row.get(name)) for row in rows.values())
    ]
    if not columns:
        return ""
    body = page.table(
        ["", *map(escape, columns)],
        [_cells(title, row, columns) for title, row in rows.items()],
    )
    lead = (
        "Test frames by the protocols of EPIC Fields: new views, PSNR in dB of clipped "
        "images, by how far a frame is from those of training; UDOS, average precision "
        "of soft masks times 100, by type of motion."
    )
    return page.section("EPIC Fields", lead, body)


def _cells(title: str, row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    values = [row.get(name) for name in columns]
    numbers = [v if _is_number(v) else None for v in values]
    return [escape(title), *map(format_number, columns, numbers)]


def _row(
    name: str, title: str, meaning: str, columns: Sequence[Mapping[str, Any]]
) -> list[str]:
    note = f"<small>{escape(meaning)}</small>" if meaning else ""
    head = f"<b>{escape(title)}</b>{note}" if meaning else escape(title)
    cells = [column.get(name) for column in columns]
    return [head, *(format_number(name, c if _is_number(c) else None) for c in cells)]


def _is_number(value: Any) -> bool:
    return math.isfinite(number(value))
