"""`launch.py average DIR ...`: means over the scenes of any set of run folders."""

import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from egojax.data import arrays, runs
from egojax.data.values import is_number
from egojax.errors import UsageError
from egojax.metrics import format_number, format_table
from egojax.tasks.decomposition_summary import means_over_scenes

OFFICIAL = "--official"
# Where metrics.txt are: in a run folder, and as published, in results/EXPERIMENT.
OFFICIAL_FILES = ("clips/*/official/metrics.txt", "*/masks/metrics.txt")
OFFICIAL_NAMES = ["avgpre", "psnr"]

Groups = dict[str, dict[str, Any]]  # Of a scene: group, name of the number, number.


def main(words: list[str]) -> int:
    """Prints the means; returns the exit code.

    Raises:
      UsageError: no folders, a folder without scores, or a scene in two of them.
    """
    options = [word for word in words if word.startswith("-")]
    paths = [pathlib.Path(word) for word in words if not word.startswith("-")]
    if set(options) - {OFFICIAL} or not paths:
        raise UsageError(
            f"average: expected one or more run folders: average DIR [DIR ...] "
            f"[{OFFICIAL}]"
        )
    print(official_line(paths) if options else tables(paths))
    return 0


def tables(paths: Sequence[pathlib.Path]) -> str:
    """The mean of each number over all scenes, and over how many: a table a group.

    Raises:
      UsageError: see `main`.
    """
    _check_jobs(paths)
    found = [(path, name, row) for path in paths for name, row in _scenes(path).items()]
    per_scene = {
        name: {key: _plain(numbers) for key, numbers in row.items()}
        for name, row in _unique(found).items()
    }
    if not any(per_scene.values()):
        raise UsageError(f"average: no scored clip in {', '.join(map(str, paths))}")
    parts = [f"mean over {len(per_scene)} scene(s) of {len(paths)} run folder(s)"]
    for key, means in means_over_scenes(per_scene).items():
        rows = [groups[key] for groups in per_scene.values() if key in groups]
        cells = {
            name: {"mean": format_number(name, value), "scenes": _count(name, rows)}
            for name, value in means.items()
            if not name.startswith("num_")
        }
        corner = f"{key}: {len(rows)} scene(s)"
        parts.append(format_table(cells, ("mean", "scenes"), corner=corner))
    return "\n\n".join(parts)


def official_line(paths: Sequence[pathlib.Path]) -> str:
    """The published average: of the third lines of metrics.txt, digits as they are.

    Args:
      paths: Run folders, or folders of the published evaluation, results/EXPERIMENT.

    Raises:
      UsageError: see `main`; also a metrics.txt that says something else.

    Source: NeuralDiff, evaluate.py, --outputs average.
    """
    found = [(path, *scene) for path in paths for scene in _official_scenes(path)]
    rows = list(_unique(found).values())
    precision, psnr = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return f"mAP {100 * precision:.2f}  PSNR {psnr:.2f}  over {len(rows)} scene(s)"


# ----------------------------------------------------------------------------- reading


def _check_jobs(paths: Sequence[pathlib.Path]) -> None:
    jobs = {runs.open_run(path)["config"].get("job"): path for path in paths}
    if len(jobs) > 1:
        told = ", ".join(f"{path} is of {job}" for job, path in jobs.items())
        raise UsageError(f"average: runs of different jobs: {told}")


def _scenes(path: pathlib.Path) -> dict[str, Groups]:
    """The scenes of a run that have been scored."""
    file = path / "metrics.json"
    if not file.is_file():
        raise UsageError(f"{path}: no metrics.json; the run has not been scored")
    found = arrays.read_json(file)
    clips = found.get("clips") if isinstance(found, dict) else None
    if not isinstance(clips, dict) or not all(map(_is_scene, clips.values())):
        raise UsageError(f"{file}: expected clips, with groups of numbers by name")
    return clips


def _is_scene(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(row, dict) for row in value.values()
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is a single number, or undefined."""
    return {k: v for k, v in row.items() if v is None or is_number(v)}


def _unique(found: Iterable[tuple[pathlib.Path, str, Any]]) -> dict[str, Any]:
    """By scene; a scene of two folders would count twice."""
    where: dict[str, pathlib.Path] = {}
    out, problems = {}, []
    for path, name, row in found:
        if name in where:
            problems.append(
                f"average: {name} is in {where[name]} and in {path}; give one of them"
            )
        where[name], out[name] = path, row
    if problems:
        raise UsageError.from_problems(problems)
    return out


def _count(name: str, rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(row.get(name) is not None for row in rows)


def _official_scenes(path: pathlib.Path) -> list[tuple[str, list[float]]]:
    for pattern in OFFICIAL_FILES:
        files = sorted(path.glob(pattern))
        if files:
            return [(file.parent.parent.name, _third_line(file)) for file in files]
    raise UsageError(
        f"{path}: no metrics.txt; expected {' or '.join(OFFICIAL_FILES)}, which "
        "scenes with annotated test frames have"
    )


def _third_line(file: pathlib.Path) -> list[float]:
    """Average precision and PSNR."""
    text = arrays.read_bytes(file).decode("utf-8", "replace")
    lines = [*text.splitlines(), "", "", ""]
    try:
        values = [float(word) for word in lines[2].split()]
    except ValueError:
        values = []
    if lines[1].split() != OFFICIAL_NAMES or len(values) != 2:
        raise UsageError(
            f"{file}: line 2 is {lines[1]!r:.40}, line 3 {lines[2]!r:.40}; expected "
            "avgpre and psnr, and their values"
        )
    if not all(map(math.isfinite, values)):
        raise UsageError(f"{file}: line 3 is {lines[2]!r:.40}; expected finite values")
    return values
