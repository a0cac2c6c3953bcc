"""The last stage of a run: what a person looks at."""

import functools
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from egojax.apps import (
    decomposition_report,
    field_panels,
    field_video,
    motion_pictures,
    motion_report,
    report,
    viz,
)
from egojax.data import arrays, results, runs
from egojax.data.runs import ClipFolder
from egojax.errors import UsageError
from egojax.task import Progress, Stage
from egojax.tasks import motion_summary
from egojax.tasks.flow_masks import SOLVERS as FROM_FLOW
from egojax.types import Clip, SkippedFrame


def stages(config: Any) -> tuple[Stage, ...]:
    """What a job shows in the end, as `config.show` asks."""
    return (STAGES[config.job](config),)


def _tracking(config: Any) -> Stage:
    """overlay.mp4 and report.html"""
    fields = ("overlay", "report")
    return Stage(
        "show",
        functools.partial(_show_tracks, config),
        reads={f"show.{name}": config.show[name] for name in fields},
        needs=("tracks.npz", "scores.json"),
        writes=("overlay.mp4", "report.html"),
    )


def _decomposition(config: Any) -> Stage:
    """summary.mp4, report.html, and the published figures and video"""
    return Stage(
        "show",
        functools.partial(_show_fields, config),
        reads={f"show.{name}": value for name, value in config.show.items()},
        needs=("streams", "render.json", "scores.json"),
        writes=("summary.mp4", "report.html", "official/masks", "official/summary"),
    )


def _motion_seg(config: Any) -> Stage:
    """overlay.mp4 and report.html"""
    fields = ("overlay", "report")
    points = () if config.solver in FROM_FLOW else ("points.npz", "groups.npz")
    return Stage(
        "show",
        functools.partial(_show_motion, config),
        reads={f"show.{name}": config.show[name] for name in fields},
        needs=(*points, "labels", "scores.json"),
        writes=("overlay.mp4", "report.html"),
    )


STAGES = {
    "tracking": _tracking,
    "decomposition": _decomposition,
    "motion_seg": _motion_seg,
}


def _show_motion(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    has_points = config.solver not in FROM_FLOW
    found = motion_pictures.read_found(clip, folder.path, has_points)
    stages = ("flow", *(("tracks",) if has_points else ()), "masks", "score")
    skipped: list[SkippedFrame] = []
    if config.show.overlay:
        path = folder.path / "overlay.mp4"
        skipped = motion_pictures.write_overlay(path, found, progress=progress)
    if config.show.report:
        motion_report.write_report(
            folder.path / "report.html",
            found=found,
            scores=motion_summary.read_scores(folder.path / "scores.json"),
            config=config.to_dict(),
            machine=_machine(folder),
            command=_command(),
            skipped=_all_skipped(clip, folder, stages),
        )
    return skipped


def _show_fields(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    skipped: list[SkippedFrame] = []
    fixed = _fixed_frame(folder.path / "render.json", clip)
    if config.show.summary:
        skipped = field_video.write_summary(
            *(folder.path / "summary.mp4", clip, folder.path),
            fixed_frame=fixed,
            progress=progress,
        )
    if config.show.official:
        field_video.write_official_summary(folder.path, clip, fixed_frame=fixed)
        skipped += field_panels.write_panels(folder.path, clip)
    if config.show.report:
        decomposition_report.write_report(
            folder.path / "report.html",
            clip=clip,
            folder=folder.path,
            config=config.to_dict(),
            machine=_machine(folder),
            command=_command(),
            skipped=_all_skipped(clip, folder, ("fit", "score")),
        )
    return skipped


def _fixed_frame(path: pathlib.Path, clip: Clip) -> str:
    found = arrays.read_json(path)
    name = found.get("fixed_frame") if isinstance(found, dict) else None
    if name not in clip.frame_ids:
        raise UsageError(f"{path}: names no frame; --only=render writes it again")
    return name


def _show_tracks(
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
            skipped=_all_skipped(clip, folder, ("observe", "labels")),
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


def _all_skipped(
    clip: Clip, folder: ClipFolder, stages: Sequence[str]
) -> list[tuple[str, SkippedFrame]]:
    """Frames that earlier stages left out, with the stage."""
    position = {name: t for t, name in enumerate(clip.frame_ids)}
    rows = []
    for name in stages:
        for row in (folder.done(name) or {}).get("skipped", []):
            frame = SkippedFrame(position[row["frame"]], row["reason"])
            rows.append((name, frame))
    return rows
