"""The last stage of a run: what a person looks at."""

import functools
import shlex
import sys
from typing import Any

from egojax.apps import report, viz
from egojax.data import results, runs
from egojax.data.runs import ClipFolder
from egojax.task import Progress, Stage
from egojax.types import Clip, SkippedFrame


def stages(config: Any) -> tuple[Stage, ...]:
    """What a job shows in the end, as `config.show` asks."""
    return (_tracking(config),) if config.job == "tracking" else ()


def _tracking(config: Any) -> Stage:
    """overlay.mp4 and report.html"""
    fields = ("overlay", "report")
    return Stage(
        "show",
        functools.partial(_show, config),
        reads={f"show.{name}": config.show[name] for name in fields},
        needs=("tracks.npz", "scores.json"),
        writes=("overlay.mp4", "report.html"),
    )


def _show(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    table = results.read_table(folder.path / "tracks.npz")
    skipped: list[SkippedFrame] = []
    if config.show.overlay and clip.frames is not None:
        path = folder.path / "overlay.mp4"
        skipped = viz.write_overlay(path, clip, table, progress=progress)
    if config.show.report:
        numbers = results.read_numbers(folder.path)
        report.write_report(
            folder.path / "report.html",
            clip=clip,
            table=table,
            scores=numbers,
            true_ids=results.read_true_ids(folder.path),
            skipped=_all_skipped(clip, folder),
            config=config.to_dict(),
            machine=_machine(folder),
            command=_command(),
        )
    return skipped


def _command() -> str:
    """What was typed, but for what belongs to this one call."""
    program, *words = sys.argv
    words = [w for w in words if not w.startswith(("--only=", "--mode="))]
    start = ["egojax"] if program.endswith("egojax") else ["python", program]
    return shlex.join([*start, *words])


def _machine(folder: ClipFolder) -> dict[str, Any]:
    """What the run folder says about versions and device."""
    about = runs.open_run(folder.path.parents[1])
    return {key: value for key, value in about.items() if key != "config"}


def _all_skipped(clip: Clip, folder: ClipFolder) -> list[tuple[str, SkippedFrame]]:
    """Frames that earlier stages left out, with the stage."""
    position = {name: t for t, name in enumerate(clip.frame_ids)}
    rows = []
    for name in ("observe", "labels"):
        for row in (folder.done(name) or {}).get("skipped", []):
            frame = SkippedFrame(position[row["frame"]], row["reason"])
            rows.append((name, frame))
    return rows
