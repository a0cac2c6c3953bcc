"""Runs a job over its clips: stages, resuming, what was skipped, the exit code."""

import pathlib
from collections.abc import Sequence
from typing import Any

from egojax import tasks
from egojax.apps import fit, show
from egojax.apps.cli import Arguments
from egojax.apps.progress import ProgressLine
from egojax.data import arrays
from egojax.data.runs import ClipFolder, RunFolder
from egojax.errors import UsageError
from egojax.task import Task
from egojax.types import Clip


def run(arguments: Arguments) -> int:
    """Does what the arguments say; returns the exit code (0 or 3)."""
    config = arguments.config
    task = tasks.make(config, arguments.mode, arguments.workdir)
    if arguments.mode in ("predict", "train"):
        task = task._replace(stages=(*task.stages, show.stage(config)))
    _check_stages(arguments.only, task)
    if arguments.mode == "train":
        fit.check(task, config, arguments)
    folder = RunFolder(arguments.workdir, config.to_dict())
    if arguments.mode == "view":
        from egojax.apps import view

        return view.main(task, folder, config.view.host, config.view.port)
    names = shard_of(list(task.clips), *arguments.shard)
    if arguments.mode == "train":
        early = fit.before(task)
        for name in names:
            _run_clip(early, name, folder, arguments)
        fit.fit(task, config, folder)
    problems = [p for name in names for p in _run_clip(task, name, folder, arguments)]
    _finish(task, folder)
    for problem in problems:
        print(f"egojax: {problem}")
    return 3 if problems else 0


def shard_of(names: Sequence[str], index: int, count: int) -> list[str]:
    """Shard `index` of `count`: neighbours stay together, sizes differ by one at most.

    Source: EgoSeg3D, the chunks of its preprocessing.
    """
    size, longer = divmod(len(names), count)
    first = index * size + min(index, longer)
    return list(names[first : first + size + (index < longer)])


def _check_stages(only: tuple[str, ...], task: Task) -> None:
    known = [stage.name for stage in task.stages]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UsageError(
            f"--only={','.join(only)}: no stage {', '.join(unknown)}; "
            f"there are {', '.join(known)}"
        )


def _run_clip(
    task: Task, name: str, folder: RunFolder, arguments: Arguments
) -> list[str]:
    clip_folder = folder.clip(name)
    if arguments.only:
        clip_folder.forget(list(arguments.only))
    wanted = [s for s in task.stages if not arguments.only or s.name in arguments.only]
    missing = [s for s in wanted if clip_folder.done(s.name) is None]
    if not missing:
        print(f"{name}: nothing to do, all stages are done")
        return _skipped(task, name, clip_folder)
    try:
        clip = task.clips[name]()
    except UsageError as err:
        if len(task.clips) == 1:
            raise
        folder.log("clip_failed", clip=name, reason=str(err))
        return [f"{name}: skipped: {line}" for line in str(err).splitlines()]
    for note in clip.notes:
        print(f"{name}: {note}")
    for stage in missing:
        _run_stage(stage, clip, clip_folder, folder)
    return _skipped(task, name, clip_folder)


def _run_stage(
    stage: Any, clip: Clip, clip_folder: ClipFolder, folder: RunFolder
) -> None:
    folder.log("stage_start", clip=clip.name, stage=stage.name)
    progress = ProgressLine(f"{clip.name} {stage.name}")
    skipped = stage.run(clip, clip_folder, progress)
    seconds = progress.close()
    rows = [{"frame": clip.frame_ids[s.frame_idx], "reason": s.reason} for s in skipped]
    clip_folder.mark(stage.name, seconds=round(seconds, 3), skipped=rows)
    folder.log("stage_end", clip=clip.name, stage=stage.name, seconds=round(seconds, 3))
    print(f"{clip.name}: {stage.name} done in {seconds:.1f} s")


def _skipped(task: Task, name: str, clip_folder: ClipFolder) -> list[str]:
    lines = []
    for stage in task.stages:
        rows = (clip_folder.done(stage.name) or {}).get("skipped", [])
        if rows:
            first = rows[0]
            lines.append(
                f"{name}: {stage.name} skipped {len(rows)} frame(s), first "
                f"{first['frame']}: {first['reason']}"
            )
    return lines


def _finish(task: Task, folder: RunFolder) -> None:
    """Writes metrics.json from all clips that are done, whichever shard did them."""
    done = {
        name: ClipFolder(path)
        for name in task.clips
        if (path := folder.path / "clips" / name).is_dir()
    }
    metrics = task.summary(done)
    arrays.write_json(folder.path / "metrics.json", metrics)
    if metrics.get("table"):
        print(metrics["table"])
    for clip_folder in done.values():
        _announce(clip_folder.path / "report.html")


def _announce(report: pathlib.Path) -> None:
    if report.exists():
        print(f"report: {report}")
