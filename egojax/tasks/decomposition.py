"""The decomposition job: radiance fields of each clip, what they show, how well."""

import functools
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from egojax.data import arrays, images, neuraldiff, pickles, stream_images, weight_files
from egojax.data.runs import ClipFolder
from egojax.data.stream import find_layer
from egojax.data.weight_files import WeightFile
from egojax.errors import FrameError, UsageError
from egojax.methods import field_frames, field_scene, field_scores
from egojax.methods.field_scene import SceneFrames
from egojax.methods.field_scores import ScoredFrame
from egojax.models import convert, weights
from egojax.ops import scene_bounds
from egojax.task import Progress, Stage, Task
from egojax.tasks import (
    clips,
    decomposition_summary,
    epic_benchmark,
    field_config,
    field_models,
    field_training,
    settings,
    trained_fields,
)
from egojax.tasks.epic_benchmark import ClipBenchmark
from egojax.tasks.trained_fields import FIELDS
from egojax.train import distributed
from egojax.types import Clip, SkippedFrame

STREAMS, FIXED = "streams", "fixed"


def make(config: Any, mode: str, folder: pathlib.Path) -> Task:
    """Reads the config; see `configs/decomposition.py` for what its fields mean."""
    del folder
    if mode == "synthesize":
        raise UsageError(
            "--mode=synthesize: fields have no official layout to be written in; "
            "configs/tracking.py writes procedural clips"
        )
    field_config.check(config)
    return Task(
        clips=clips.make(config, field_config.prepared, field_config.settled),
        stages=_stages(config),
        summary=decomposition_summary.summary,
        runs=("score",) if mode == "eval" else (),
        paths=field_config.PATHS,
    )


def _stages(config: Any) -> tuple[Stage, ...]:
    """The chain. What no stage is said to read, the clip or the fields depend on."""
    judged = settings.fields(config, "eval")
    del judged["eval.benchmark"]  # The clip depends on it.
    return (
        Stage(
            "fit",
            functools.partial(_fit, config),
            writes=("fit", FIELDS),
            together=True,
        ),
        Stage(
            "render",
            functools.partial(_render, config),
            reads=settings.fields(config, "render"),
            needs=(FIELDS,),
            writes=(STREAMS, FIXED, "render.json"),
        ),
        Stage(
            "score",
            functools.partial(_score, config),
            reads=judged,
            needs=(STREAMS, "render.json"),
            writes=("scores.json", "official/metrics.txt"),
        ),
    )


# ------------------------------------------------------------------------------- fit


def _fit(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    where = folder.path / "fit"
    in_memory = field_config.page_frames(config, clip) is None
    frames = _read_alike(clip, config.read.ahead, None if in_memory else where)
    field_config.check_lens(config, frames.scene)
    path = field_config.weights_path(config, clip)
    if path is not None:
        found = _given(config, path)
        trained_fields.make(config, found, path)  # Refuses those of another network.
        field_models.check_slots(found.about, frames.scene)
    else:
        about = field_models.describe(config, frames.scene)
        field_models.check_slots(about, frames.scene)
        model = field_training.train(config, clip, frames, about, where, progress)
        found = WeightFile(weights.named_weights(model), about)
    if distributed.is_first():
        weight_files.write_weights(folder.path / FIELDS, *found)
    return frames.skipped


def _read_alike(
    clip: Clip, read_ahead: int, folder: pathlib.Path | None
) -> SceneFrames:
    """The scene; an error of one process, or another scene, is an error of all."""
    if jax.process_count() == 1:
        return field_scene.read_scene(clip, read_ahead, folder)
    frames, fault, digest = None, None, 0
    try:
        frames = field_scene.read_scene(clip, read_ahead, folder)
        for leaf in jax.tree.leaves(frames.scene):
            digest = zlib.crc32(np.ascontiguousarray(leaf).data, digest)
    except UsageError as err:
        fault = err
    mine = np.array([digest, fault is not None], np.uint32)
    digests, failed = multihost_utils.process_allgather(mine).T
    if fault is not None:
        raise fault
    odd = np.flatnonzero(failed if failed.any() else digests != digests[0])
    if len(odd):
        raise UsageError(
            f"{clip.name}: process {', '.join(map(str, odd))} reads "
            f"{'nothing, and says why' if failed.any() else 'other frames'}; all hosts "
            "need the same data"
        )
    assert frames is not None
    return frames


def _given(config: Any, path: pathlib.Path) -> WeightFile:
    """Fields that exist: ours, or a published checkpoint."""
    if path.suffix == ".npz":
        return weight_files.read_weights(path, "radiance fields")
    checkpoint = pickles.read_pt(path, pass_over=True)
    _check_samples(config, checkpoint, path)
    kind = None if config.fields.kind == "grid" else config.fields.kind
    try:
        model = convert.nerf_from_official(convert.state_of(checkpoint), kind)
    except UsageError as err:
        raise UsageError.from_problems(
            f"{path}: {line}" for line in str(err).splitlines()
        ) from None
    sizes = vars(model.config) | {"dtype": config.nerf.dtype}
    about = {"kind": model.config.kind, "sizes": sizes}
    return WeightFile(weights.named_weights(model), about)


def _check_samples(config: Any, checkpoint: Any, path: pathlib.Path) -> None:
    """Refuses samples of a ray that are not those a published network learned with."""
    held = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    asked = held if isinstance(held, dict) else {}
    problems = [
        f"{path}: trained with {name}={asked[name]}; set config.nerf.{name} to that"
        for name in ("N_samples", "N_importance")
        if isinstance(asked.get(name), int) and asked[name] != config.nerf[name]
    ]
    if problems:
        raise UsageError.from_problems(problems)


# ----------------------------------------------------------------------------- render


def _render(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    """Frames that are there are kept: a run that was killed goes on."""
    left_out = {row["frame"] for row in (folder.done("fit") or {}).get("skipped", ())}
    trained = trained_fields.read(config, folder.path / FIELDS)
    frames = trained_fields.places(trained, clip, left_out)
    render = field_frames.make_renderer(
        *trained,
        clip.size_hw,
        suppress_actor=config.render.suppress_actor,
        chunk=config.render.chunk,
    )
    rows = _rows(config, frames)
    place = _fixed_place(config, clip, frames)
    count = config.render.fixed
    times = rows[scene_bounds.strided(len(rows), max(count, 0))] if count else ()
    jobs = [(STREAMS, frames.scene, row) for row in rows]
    if len(times):
        fixed = field_frames.seen_from(frames.scene, place)
        jobs += [(FIXED, fixed, row) for row in times]
    for name in (STREAMS, FIXED):
        arrays.make_folder(folder.path / name)
    for n, (name, scene, row) in enumerate(jobs):
        path = folder.path / name / f"{_name(clip, frames, row)}.npz"
        if not path.exists():
            stream_images.write_images(path, render(scene, row))
        progress(n + 1, len(jobs))
    about = {"fixed_frame": _name(clip, frames, place), "frames": len(rows)}
    arrays.write_json(folder.path / "render.json", about)
    return []


def _name(clip: Clip, frames: SceneFrames, row: int) -> str:
    return clip.frame_ids[int(frames.frame_idx[row])]


def _rows(config: Any, frames: SceneFrames) -> np.ndarray:
    """Rows of the scene that are rendered."""
    rows = frames.rows(*field_config.RENDERED[config.render.frames])
    return rows[scene_bounds.spread(len(rows), config.render.max_frames)]


def _fixed_place(config: Any, clip: Clip, frames: SceneFrames) -> int:
    """The row whose viewpoint is the fixed one."""
    wanted = config.render.fixed_frame
    names = [_name(clip, frames, row) for row in range(len(frames.split))]
    if wanted is None:
        numbers = [images.last_number(name) for name in names]
        published = neuraldiff.FIXED_VIEWS.get(clip.name)
        is_there = published is not None and published in numbers
        return (
            numbers.index(published) if is_there else field_scene.middle(frames.scene)
        )
    if wanted not in names:
        raise UsageError(
            f"{clip.name}: config.render.fixed_frame={wanted}: no such frame; the "
            f"first is {names[0]}"
        )
    return names.index(wanted)


# ------------------------------------------------------------------------------ score


def _score(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    skipped: list[SkippedFrame] = []
    benchmark = None
    if config.eval.benchmark:
        benchmark = epic_benchmark.read(config.eval.benchmark, clip)
    frames = _scored_frames(clip, benchmark, folder, progress, skipped)
    about = arrays.read_json(folder.path / "render.json")
    _check_complete(folder.path / STREAMS, about)
    found = field_scores.score_frames(frames, ssim=config.eval.ssim)
    rows = {"names": found.groups, "frames": found.frames, "about": about}
    arrays.write_json(folder.path / "scores.json", rows)
    if "test" in found.groups:
        arrays.make_folder(folder.path / "official")
        text = decomposition_summary.official_metrics(found.groups["test"])
        arrays.write_text(folder.path / "official" / "metrics.txt", text)
    return skipped


def _check_complete(streams: pathlib.Path, about: Any) -> None:
    """Refuses to score but a part of what was rendered."""
    count = sum(path.suffix == ".npz" for path in streams.iterdir())
    rendered = about.get("frames") if isinstance(about, dict) else None
    if count != rendered:
        raise UsageError(
            f"{streams}: {count} frames here, render.json tells of {rendered}; "
            "--only=render,score,show does them again"
        )


def _scored_frames(
    clip: Clip,
    benchmark: ClipBenchmark | None,
    folder: ClipFolder,
    progress: Progress,
    skipped: list[SkippedFrame],
) -> Iterator[ScoredFrame]:
    assert clip.frames is not None and clip.views is not None
    for t, name in enumerate(clip.frame_ids):
        path = folder.path / STREAMS / f"{name}.npz"
        if path.exists():
            try:
                view, target = clip.views[t], clip.frames[t]
                truth = truth_of(clip, t)
                asked = None if benchmark is None else benchmark.frame(t, name)
            except FrameError as err:
                skipped.append(SkippedFrame(t, str(err)))
                continue
            shown = stream_images.read_images(path)
            if not np.isfinite(shown.rgb).all():
                skipped.append(SkippedFrame(t, "the fields show colours, not finite"))
                continue
            depth = truth.pop("static_depth", None)
            yield ScoredFrame(name, view.split, shown, target, truth, depth, asked)
        progress(t + 1, clip.num_frames)


def truth_of(clip: Clip, t: int) -> dict[str, np.ndarray]:
    """What is known of the frame: soft masks' truth, and static depth."""
    if clip.truth is None:
        return {}
    layers = {name: f"streams.{name}" for name in field_scores.MASKS.values()}
    layers = {k: v for k, v in layers.items() if k in clip.truth.streams}
    if clip.truth.static_depth is not None:
        layers["static_depth"] = "static_depth"
    found = {k: find_layer(clip.truth, layer)[t] for k, layer in layers.items()}
    return {k: v for k, v in found.items() if v is not None}
