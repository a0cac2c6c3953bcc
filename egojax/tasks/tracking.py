"""The tracking job: 2D segments in, objects that keep their identity out, in stages."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np

from egojax.data import arrays, egoseg3d, observations, results, segmaps
from egojax.data.runs import ClipFolder
from egojax.data.stream import host_frames
from egojax.data.world.imperfect import PRESETS
from egojax.errors import UsageError
from egojax.methods import evaluation, lifting, observing, place_errors, track_table
from egojax.methods.evaluation import TrueFrame
from egojax.methods.lifting import Selection
from egojax.methods.observing import ObserveSettings
from egojax.methods.static_scene import PointsAs
from egojax.metrics.schema import to_json
from egojax.ops.depth import Space, settle
from egojax.task import Progress, Stage, Task
from egojax.tasks import (
    assoc_config,
    clips,
    observed,
    opening,
    settings,
    tracking_learning,
    tracking_summary,
)
from egojax.types import Clip, SkippedFrame, Source, TrackTable

CHOICES = {
    "data.name": clips.READERS,
    "world.faults": PRESETS,
    "world.scene": ("kitchen", *clips.SCENES),
    "official.categories": ("frame", "last"),
    "depth.space": get_args(Space),
    "depth.renderer": ("jax", "embree"),
    "depth.points": get_args(PointsAs),
    "lift.mode": get_args(lifting.LiftMode),
    "features.name": ("auto", "file", "descriptor", "none"),
    "assoc.mode": assoc_config.MODES,
    "assoc.category": ("vote", "last"),
    **{f"assoc.{name}": words for name, words in track_table.CHOICES.items()},
}
LEAST = {
    **{f"data.{name}": 1 for name in ("stride", "repeat")},
    "data.max_frames": 0,
    "data.metric_scale": 1e-6,
    "data.fps": 1e-3,
    **{f"data.corrupt_depth.{name}": 0 for name in ("scale", "error")},
    "world.num_frames": 0,
    "official.max_number": 0,
    "segments.min_pixels": 0,
    "depth.smooth": 0,
    "lift.erode": 0,
    "assoc.lag": 0,
    "assoc.noise_std": 0,
    "assoc.gamma": 1,
    "read.chunk": 1,
    "read.ahead": 1,
    **{f"train.{name}": 1 for name in ("steps", "batch_size", "checkpoint_every")},
    **{f"train.{name}": 0 for name in ("learning_rate", "prior")},
}
MOST = {"lift.erode": 100, "depth.smooth": 100_000, "assoc.gamma": 10_000}
PATHS = (
    *(
        "data.root",
        "data.motion",
        "depth.fields",
        "world.camera_path",
        "official.frame_mapping",
        "eval.tree",
    ),
    *assoc_config.FILES,
)
# What `labels` and `score` write, in a clip's folder.
TREE = tuple(f"official/{name}" for name in ("pred.json", "args.json", "Annotations"))
SCORES = ("scores.npz", "scores.json", "true_ids.npz", "official/hota.json")


def make(config: Any, mode: str, folder: pathlib.Path) -> Task:
    """Reads the config; see `configs/tracking.py` for what its fields mean."""
    settings.check(config, CHOICES, LEAST, MOST, endless=("assoc.location_cap",))
    assoc_config.check(config.assoc)
    learned = {}
    weights = folder / tracking_learning.WEIGHTS
    if mode == "train":
        learned = tracking_learning.learn(config, folder)
    if mode == "train" or (mode in ("predict", "eval") and weights.is_file()):
        config = config.copy_and_resolve_references()
        config.assoc.weights = str(weights)
        # What was set by hand is where the learning starts, not where it ends.
        for name in assoc_config.FIELDS:
            config.assoc[name] = None
    stages, runs = _stages(config), ()
    if mode == "synthesize":
        write = functools.partial(_write_official, folder / "official", config)
        stages = (Stage("write", write),)
    elif mode == "eval" and config.eval.tree:
        if config.data.name == "epic_fields":  # What is scored says which frames.
            config = config.copy_and_resolve_references()
            config.official.segments = str(pathlib.Path(config.eval.tree).absolute())
        stages = (Stage("score_tree", functools.partial(_score_tree, config)),)
    elif mode == "eval":
        runs = ("score",)
    return Task(
        clips=clips.make(config, opening.prepared, opening.settled),
        stages=stages,
        summary=tracking_summary.summary,
        runs=runs,
        paths=PATHS,
        **learned,
    )


def _stages(config: Any) -> tuple[Stage, ...]:
    """The chain. What no stage is said to read, the clip or `observe` depends on."""
    return (
        Stage("observe", functools.partial(_observe, config), writes=("observations",)),
        Stage(
            "track",
            functools.partial(_track, config),
            reads=settings.fields(config, "assoc", "depth.smooth"),
            files=assoc_config.FILES,
            needs=("observations",),
            writes=("tracks.npz",),
        ),
        Stage(
            "labels",
            functools.partial(_labels, config),
            reads=settings.fields(config, "show.official"),
            needs=("tracks.npz",),
            writes=("labels", "pred.json", *TREE),
        ),
        Stage(
            "score",
            functools.partial(_score, config),
            reads=settings.fields(config, "eval.depth", "show.official"),
            needs=("observations", "tracks.npz"),
            writes=SCORES,
        ),
    )


# --------------------------------------------------------------------- observe


def settings_of(config: Any, clip: Clip) -> ObserveSettings:
    """The observe stage's settings for one clip."""
    names = set(config.segments.ignore_categories)
    ignored = [k for k, name in enumerate(clip.category_names) if name in names]
    return ObserveSettings(
        selection=Selection(config.segments.min_pixels, frozenset(ignored)),
        mode=config.lift.mode,
        erode=config.lift.erode,
        features=config.features.name,
        align=config.depth.align,
        space=config.depth.space,
        exclude_segments=config.depth.exclude_segments,
    )


def _observe(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    path = folder.path / "observations"
    arrays.make_folder(path)
    chunks = observing.observe_clip(
        clip,
        settings_of(config, clip),
        opening.scene_of(config, clip),
        start=observations.next_frame(path),
        chunk=config.read.chunk,
        read_ahead=config.read.ahead,
    )
    for chunk in chunks:
        observations.write_chunk(path, chunk)
        progress(chunk.start + chunk.num_frames, clip.num_frames)
    kept = observations.read_chunks(path, features=False)
    return [skipped for chunk in kept for skipped in chunk.skipped]


# ----------------------------------------------------------------------- track


def _track(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    path = folder.path / "observations"
    rows = observed.join_chunks(observations.read_chunks(path))
    if (rows.start, rows.num_frames) != (0, clip.num_frames):
        raise UsageError(
            f"{path}: frames {rows.start} to {rows.start + rows.num_frames - 1}, but "
            f"the clip has {clip.num_frames}; run the stage observe to its end, or "
            f"{observations.AGAIN}"
        )
    location = observed.locate(clip, rows, config.depth)
    columns = observed.columns_of(clip, rows, location)
    found = assoc_config.associate(columns, rows.segments["area"], config)
    table = observed.table_of(rows, location, found)
    results.write_table(folder.path / "tracks.npz", table, clip)
    progress(clip.num_frames, clip.num_frames)
    return []


# ---------------------------------------------------------------------- labels


def _labels(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    table = results.read_table(folder.path / "tracks.npz")
    names = evaluation.names_by_frame(table, table.track_id, clip.num_frames)
    skipped = []
    if clip.labels is not None:
        skipped = results.write_labels(folder.path / "labels", clip, names, progress)
    results.write_predictions(folder.path / "pred.json", clip, table)
    if config.show.official and clip.labels is not None:
        kinds = evaluation.track_categories(
            table.track_id, table.category, config.assoc.category
        )
        egoseg3d.write_tracks(
            folder.path / "official",
            clip,
            dataclasses.replace(table, category=kinds),
            to_json(config.assoc.to_dict()),
        )
    return skipped


# ----------------------------------------------------------------------- score


def _score(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    if evaluation.true_layer(clip) is None:
        arrays.write_json(folder.path / "scores.json", {"names": {}})
        return []
    table = results.read_table(folder.path / "tracks.npz")
    frames = []
    for frame in evaluation.true_frames(clip):
        frames.append(frame)
        progress(frame.frame_idx + 1, clip.num_frames)
    best = evaluation.true_ids(frames, table)
    ids = {"before": table.segment_id, "after": table.track_id, "bound": best}
    scores = score_ids(config, clip, frames, table, ids)
    geometry = place_errors.lifting_errors(frames, table, best, clip.metric_scale)
    chunks = observations.read_chunks(folder.path / "observations", features=False)
    rows = observed.join_chunks(chunks)
    cameras = observed.cameras_of(clip, rows)
    geometry |= place_errors.reprojection_errors(frames, table, best, cameras)
    if config.eval.depth:
        geometry |= _depth_scores(config, clip, rows.frames)
    results.write_true_ids(folder.path, best)
    results.write_scores(folder.path, scores, geometry)
    if config.show.official and (folder.path / "official").is_dir():
        results.write_hota(folder.path / "official" / "hota.json", scores["after"])
    return []


def score_ids(
    config: Any,
    clip: Clip,
    frames: Iterable[TrueFrame],
    table: TrackTable,
    ids: Mapping[str, np.ndarray],
) -> dict[str, evaluation.NamingScores]:
    """Scores namings of the table's rows, each a column of ids."""
    namings, categories = {}, {}
    for key, column in ids.items():
        kinds = table.category  # 2D ids count by what is listed in each frame.
        if key != "before":
            kinds = evaluation.track_categories(column, kinds, config.assoc.category)
        namings[key] = evaluation.names_by_frame(table, column, clip.num_frames)
        categories[key] = evaluation.by_frame(
            table.frame_idx, column, kinds, clip.num_frames
        )
    return evaluation.score_names(
        frames,
        namings,
        table,
        categories,
        category_names=clip.category_names,
        ignored=config.segments.ignore_categories,
        true_names=None if clip.truth is None else clip.truth.category_names,
        min_pixels=config.segments.min_pixels,
        metric_scale=clip.metric_scale,
        name=clip.name,
    )


def _depth_scores(
    config: Any, clip: Clip, frames: dict[str, np.ndarray]
) -> dict[str, float]:
    fit = settle(frames["scale"], frames["shift"], config.depth.smooth)
    found = place_errors.depth_errors(clip, fit.scale, fit.shift, config.depth.space)
    if config.data.corrupt_depth.scale and np.isfinite(frames["scale"]).any():
        true = config.data.corrupt_depth.scale
        found["scale_error"] = float(np.nanmax(np.abs(frames["scale"] / true - 1)))
    return found


# ------------------------------------------------------- official trees, both ways


def _write_official(
    root: pathlib.Path, config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    """Writes the clip as the official ROOT."""
    egoseg3d.write_clip(
        root,
        clip,
        segments=config.official.segments,
        features=config.official.features,
        truth=config.official.truth,
    )
    progress(clip.num_frames, clip.num_frames)
    return []


def _score_tree(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    """Scores the ids of an official segmaps folder as they are."""
    if evaluation.true_layer(clip) != "labels":
        raise UsageError(f"{clip.name}: no true label maps to score against")
    path = pathlib.Path(config.eval.tree.replace("{clip}", clip.name))
    tree = segmaps.read_tree(path)
    position = {name: t for t, name in enumerate(clip.frame_ids)}
    shared = [n for n, name in enumerate(tree.frame_ids) if name in position]
    if not shared:
        raise UsageError(
            f"{path}: none of its {len(tree.frame_ids)} frames is in {clip.name}"
        )
    clip = clip.select([position[tree.frame_ids[n]] for n in shared]).replace(
        labels=tree.labels.select(shared),
        segments=tree.segments.select(shared),
        boxes=None,
    )
    table = _table_of_tree(
        clip, tree.locations.select(shared), settings_of(config, clip).selection
    )
    frames = list(evaluation.true_frames(clip))
    best = evaluation.true_ids(frames, table)
    ids = {"before": table.segment_id, "bound": best}
    scores = score_ids(config, clip, frames, table, ids)
    scores["after"] = scores.pop("before")  # The tree's ids are what is judged.
    results.write_scores(folder.path, scores)
    progress(clip.num_frames, clip.num_frames)
    return []


def _table_of_tree(
    clip: Clip, locations: Source[Any], selection: Selection
) -> TrackTable:
    rows, places = [], []
    for frame in host_frames(clip, ["labels", "segments"]):
        labels = frame.layers.get("labels")
        if labels is not None:
            table = frame.layers["segments"]
            found = lifting.observe(labels, table, None, selection=selection)
            rows.append((frame.frame_idx, found))
            told = dict(
                zip(table.ids.tolist(), locations[frame.frame_idx], strict=True)
            )
            nowhere = np.full(3, np.nan)
            places += [told.get(int(i), nowhere) for i in found.segment_id]
    columns = observing.columns(rows)
    count = len(columns["segment_id"])
    return TrackTable(
        frame_idx=columns["frame_idx"],
        segment_id=columns["segment_id"],
        track_id=columns["segment_id"],
        category=columns["category"],
        score=columns["score"],
        confidence=np.ones(count, np.float32),
        location=np.array(places, np.float32).reshape(count, 3),
        centroid_xy=columns["centroid_xy"],
        area=columns["area"],
    )
