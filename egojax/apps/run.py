"""Runs a job over its clips: stages, resuming, what was skipped, the exit code."""

import functools
import importlib
import pathlib
from collections.abc import Callable, Sequence

import jax

from egojax import tasks
from egojax.apps import fit, followers, plan, show, stopping
from egojax.apps.cli import Arguments
from egojax.apps.followers import Call
from egojax.apps.plan import Plan
from egojax.apps.progress import ProgressLine
from egojax.data import arrays
from egojax.data.runs import ClipFolder, RunFolder, is_free
from egojax.errors import UsageError
from egojax.task import Stage, Task
from egojax.train import distributed
from egojax.types import Clip

# Of each job; imported where one is opened.
VIEWERS = {
    "tracking": "egojax.apps.view",
    "decomposition": "egojax.apps.view_fields",
}


def run(arguments: Arguments) -> int:
    """Does what the arguments say; returns the exit code (0 or 3).

    Of several hosts, the first does it, and the others what it calls them for.
    """
    hosts = arguments.config.hosts
    with distributed.joined(hosts.coordinator, hosts.count, hosts.index):
        if not jax.distributed.is_initialized():
            return _run(arguments, followers.alone)
        if distributed.is_first():
            return followers.lead(functools.partial(_run, arguments))
        return followers.follow(arguments)


def _run(arguments: Arguments, call: Call) -> int:
    config = arguments.config
    task = tasks.make(config, arguments.mode, arguments.workdir)
    if arguments.mode in ("predict", "train") or task.runs:
        task = task._replace(stages=(*task.stages, *show.stages(config)))
    _check_stages(arguments.only, task)
    if arguments.mode == "view" and config.job not in VIEWERS:
        raise UsageError(
            f"--mode=view: {config.job} has no viewer; its overlay.mp4 and report.html "
            "show what was found"
        )
    if arguments.mode == "train":
        fit.check(task, config, arguments)
    call(followers.JOB, followers.settings(arguments))
    task = followers.with_calls(task, call)
    folder = _open(task, arguments)
    if arguments.mode == "view":
        viewer = importlib.import_module(VIEWERS[config.job])
        return viewer.main(config, task, folder)
    names = shard_of(list(task.clips), *arguments.shard)
    if not names:
        index, count = arguments.shard
        print(f"--shard={index}/{count}: no clip in this shard, of {len(task.clips)}")
        return 0
    if arguments.mode == "train":
        _run_clips(fit.before(task), names, folder, arguments)
        fit.fit(task, config, folder, functools.partial(call, followers.LEARN))
    problems = _run_clips(task, names, folder, arguments)
    with folder.locked():
        _finish(task, folder)
    for problem in problems:
        print(f"egojax: {problem}")
    return 3 if problems else 0


def _open(task: Task, arguments: Arguments) -> RunFolder:
    """The run folder: predict and eval may change what stages read that run again.

    A run that has learned is bound to the config that it has learned with.
    """
    read = plan.inputs(task.stages)
    files = {n: read[s.name][n] for s in task.stages for n in s.files}
    learned = (arguments.workdir / "checkpoints").is_dir()
    again = arguments.mode in ("predict", "eval") and not learned
    return RunFolder(
        arguments.workdir,
        arguments.config.to_dict(),
        later={name for fields in read.values() for name in fields} if again else (),
        paths=task.paths,
        files=files,
    )


def shard_of(names: Sequence[str], index: int, count: int) -> list[str]:
    """Shard `index` of `count`: neighbours stay together, sizes differ by one at most.

    Source: EgoSeg3D, the chunks of its preprocessing.
    """
    size, longer = divmod(len(names), count)
    first = index * size + min(index, longer)
    return list(names[first : first + size + (index < longer)])


def _check_stages(only: tuple[str, ...], task: Task) -> None:
    known = task.runs or [stage.name for stage in task.stages]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UsageError(
            f"--only={','.join(only)}: no stage {', '.join(unknown)}; "
            f"there are {', '.join(known)}"
        )


def _run_clips(
    task: Task, names: Sequence[str], folder: RunFolder, arguments: Arguments
) -> list[str]:
    """Runs what there is to run; returns what was skipped."""
    read = plan.inputs(task.stages)
    wanted = arguments.only or task.runs or [stage.name for stage in task.stages]
    hint = "name it in --only as well, or leave --only away" if arguments.only else ""
    hint = f"leave --mode={arguments.mode} away" if task.runs else hint

    def plan_of(name: str, request: str | None) -> Plan:
        return plan.make(
            task.stages,
            folder.clip(name),
            read,
            wanted=wanted,
            request=request,
            hint=hint,
        )

    lacking = _lacking(
        names, lambda name: plan_of(name, "" if arguments.only else None)
    )
    if len(lacking) == len(names):
        raise UsageError.from_problems(lacking.values())
    folder.record()
    request = None
    if arguments.only:
        request = folder.request(arguments.only, arguments.shard)
    problems = [f"skipped: {text}" for text in lacking.values()]
    for name in names:
        if name not in lacking:
            todo = plan_of(name, request)
            problems += _run_clip(task, name, todo, folder, read, request)
    folder.end_request(arguments.shard)
    return problems


def _lacking(names: Sequence[str], plan_of: Callable[[str], Plan]) -> dict[str, str]:
    """By clip: why nothing can run. Known before the first one does."""
    found = {}
    for name in names:
        try:
            plan_of(name)
        except UsageError as err:
            found[name] = str(err)
    return found


def _run_clip(
    task: Task,
    name: str,
    todo: Plan,
    folder: RunFolder,
    read: plan.Inputs,
    request: str | None,
) -> list[str]:
    clip_folder = folder.clip(name)
    if not todo.run:
        seen = {entry.get("frames") for entry in clip_folder.entries().values()}
        frames = seen.pop() if len(seen) == 1 else None  # Older runs do not say.
        told = "" if frames is None else f", with {frames} frames"
        print(f"{name}: nothing to do, all stages are done{told}")
        return _skipped(task, name, clip_folder, "; --only={} tries again")
    clip = None
    try:
        clip = task.clips[name]()
        for note in clip.notes:
            print(f"{name}: {note}")
        _check_frames(task, clip, clip_folder, todo)
        _forget(name, todo, clip_folder, request)
        arrays.make_folder(clip_folder.path)
        for stage in todo.run:
            _run_stage(stage, clip, clip_folder, folder, read)
    except UsageError as err:
        stopping.check()
        # Of several hosts, those that compute with this one may not have failed.
        is_shared = clip is not None and jax.process_count() > 1
        if len(task.clips) == 1 or is_shared:
            raise
        folder.log("clip_failed", clip=name, reason=str(err))
        return [f"{name}: skipped: {line}" for line in str(err).splitlines()]
    return _skipped(task, name, clip_folder)


def _check_frames(task: Task, clip: Clip, clip_folder: ClipFolder, todo: Plan) -> None:
    """Refuses to go on with what was made of a clip of another length.

    Raises:
      UsageError: a stage that does not run again saw more frames, or fewer.
    """
    running = [stage.name for stage in todo.run]
    for stage in task.stages:
        entry = clip_folder.done(stage.name)
        frames = clip.num_frames if entry is None else entry.get("frames")
        if stage.name not in running and frames not in (None, clip.num_frames):
            raise UsageError(
                f"{clip.name}: {clip.num_frames} frames; {stage.name} was done with "
                f"{frames}: --only={','.join(s.name for s in task.stages)} does all "
                "again"
            )


def _forget(
    name: str, todo: Plan, clip_folder: ClipFolder, request: str | None
) -> None:
    """Removes what is out of date, and says so where it had been finished."""
    running = [stage.name for stage in todo.run]
    left = [s.name for s in todo.forget if s.name not in running]
    left = [n for n in left if clip_folder.done(n) is not None]
    if todo.why:
        print(f"{name}: {todo.why}: {', '.join(running)} run again")
    if left:
        print(f"{name}: what {', '.join(left)} wrote is out of date and removed")
    if todo.forget:
        clip_folder.forget(
            {stage.name: stage.writes for stage in todo.forget},
            {} if request is None else dict.fromkeys(running, request),
        )


def _run_stage(
    stage: Stage,
    clip: Clip,
    clip_folder: ClipFolder,
    folder: RunFolder,
    read: plan.Inputs,
) -> None:
    folder.log("stage_start", clip=clip.name, stage=stage.name)
    clip_folder.begin(stage.name, read[stage.name])
    progress = ProgressLine(f"{clip.name} {stage.name}")
    skipped = stage.run(clip, clip_folder, progress)
    seconds = round(progress.close(), 3)
    rows = [{"frame": clip.frame_ids[s.frame_idx], "reason": s.reason} for s in skipped]
    clip_folder.mark(
        stage.name,
        seconds=seconds,
        frames=clip.num_frames,
        skipped=rows,
        read=dict(read[stage.name]),
    )
    folder.log("stage_end", clip=clip.name, stage=stage.name, seconds=seconds)
    print(f"{clip.name}: {stage.name} done in {seconds:.1f} s")


def _skipped(
    task: Task, name: str, clip_folder: ClipFolder, hint: str = ""
) -> list[str]:
    lines = []
    for stage in task.stages:
        rows = (clip_folder.done(stage.name) or {}).get("skipped", [])
        if rows:
            first = rows[0]
            lines.append(
                f"{name}: {stage.name} skipped {len(rows)} frame(s), first "
                f"{first['frame']}: {first['reason']}{hint.format(stage.name)}"
            )
    return lines


def _finish(task: Task, folder: RunFolder) -> None:
    """Writes metrics.json from all clips that are done, whichever shard did them."""
    read = plan.inputs(task.stages)
    done = {
        name: clip_folder
        for name in task.clips
        if (clip_folder := folder.clip(name)).path.is_dir()
        and not _is_outdated(task, clip_folder, read)
    }
    metrics = task.summary(done)
    arrays.write_json(folder.path / "metrics.json", metrics)
    if metrics.get("table"):
        print(metrics["table"])
    for clip_folder in done.values():
        _announce(clip_folder.path / "report.html")


def _is_outdated(task: Task, clip_folder: ClipFolder, read: plan.Inputs) -> bool:
    """Whether numbers of the clip are of another config: its shard is yet to come."""
    entries = clip_folder.entries()
    changed = [
        name
        for stage in task.stages
        for name in plan.changes(stage, entries.get(stage.name, {}), read)
    ]
    return not all(map(is_free, changed))


def _announce(report: pathlib.Path) -> None:
    if report.exists():
        print(f"report: {report}")
