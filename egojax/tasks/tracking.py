"""The tracking job: 2D segments in, objects that keep their identity out, in stages."""

import functools
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from egojax.data import arrays, observations, results
from egojax.data.observations import ObservationChunk
from egojax.data.runs import ClipFolder
from egojax.methods import association, evaluation, lifting, observing
from egojax.methods.lifting import Selection
from egojax.methods.observing import ObserveSettings
from egojax.metrics import combine_sequences, format_table
from egojax.metrics.schema import to_json
from egojax.task import Progress, Stage, Task
from egojax.tasks import assoc_config, clips
from egojax.types import Camera, Clip, SkippedFrame, TrackTable

COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW", "MOTA")
ROWS = {"before": "2D ids", "after": "tracks", "bound": "true ids (the bound)"}


def make(config: Any, mode: str, folder: pathlib.Path) -> Task:
    """Reads the config; see `configs/tracking.py` for what its fields mean."""
    stages = {
        "observe": _observe,
        "track": _track,
        "labels": _labels,
        "score": _score,
    }
    return Task(
        clips=clips.make(config),
        stages=tuple(
            Stage(name, functools.partial(run, config)) for name, run in stages.items()
        ),
        summary=_summary,
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
    path.mkdir(exist_ok=True)
    chunks = observing.observe_clip(
        clip,
        settings_of(config, clip),
        observing.static_renderer(clip, config.depth.renderer),
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
    observed = join_chunks(observations.read_chunks(folder.path / "observations"))
    location = locate(clip, observed, config.depth)
    columns = columns_of(clip, observed, location)
    found = assoc_config.associate(columns, config)
    table = table_of(observed, location, found)
    results.write_table(folder.path / "tracks.npz", table, clip)
    progress(clip.num_frames, clip.num_frames)
    return []


def join_chunks(chunks: Iterable[ObservationChunk]) -> ObservationChunk:
    """All observations of a clip as one."""
    return observations.join(list(chunks))


def columns_of(
    clip: Clip, observed: ObservationChunk, location: np.ndarray
) -> association.Columns:
    """What the association looks at."""
    return association.Columns(
        frame_idx=observed.segments["frame_idx"],
        segment_id=observed.segments["segment_id"],
        category=observed.segments["category"],
        location=location,
        feature=observed.segments["feature"],
        num_frames=clip.num_frames,
    )


def locate(clip: Clip, observed: ObservationChunk, depth: Any) -> np.ndarray:
    """World locations of all observations, metres, float32 (M, 3)."""
    rows, frames = observed.segments, observed.frames
    at = rows["frame_idx"] - observed.start
    aligned = observing.settle_alignment(frames["scale"], frames["shift"], depth.smooth)
    z = lifting.true_depth(
        rows["raw_depth"], aligned.scale[at], aligned.shift[at], depth.space
    )
    z = np.where(frames["has_camera"][at], z, np.nan)
    lens, size = observing.lens_of(clip)
    camera = Camera(
        intrinsics=frames["intrinsics"][at],
        w2c=frames["w2c"][at],
        distortion=frames["distortion"][at] if lens != "pinhole" else None,
        size_hw=size,
        lens=lens,
    )
    return lifting.lift(rows["centroid_xy"], z, camera, clip.metric_scale)


def table_of(
    observed: ObservationChunk, location: np.ndarray, found: association.Identities
) -> TrackTable:
    """The columns of `tracks.npz`."""
    rows = observed.segments
    return TrackTable(
        frame_idx=rows["frame_idx"],
        segment_id=rows["segment_id"],
        track_id=found.track_id,
        category=rows["category"],
        score=rows["score"],
        confidence=found.confidence,
        location=location,
        centroid_xy=rows["centroid_xy"],
        area=rows["area"],
    )


# ---------------------------------------------------------------------- labels


def _labels(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    table = results.read_table(folder.path / "tracks.npz")
    names = evaluation.names_by_frame(table, table.track_id, clip.num_frames)
    skipped = results.write_labels(folder.path / "labels", clip, names, progress)
    results.write_predictions(folder.path / "pred.json", clip, table)
    return skipped


# ----------------------------------------------------------------------- score


def _score(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    if clip.truth is None or clip.truth.labels is None:
        arrays.write_json(folder.path / "scores.json", {})
        return []
    table = results.read_table(folder.path / "tracks.npz")
    frames = []
    for frame in evaluation.true_frames(clip, config.segments.min_pixels):
        frames.append(frame)
        progress(frame.frame_idx + 1, clip.num_frames)
    namings = {
        "before": evaluation.names_by_frame(table, table.segment_id, clip.num_frames),
        "after": evaluation.names_by_frame(table, table.track_id, clip.num_frames),
        "bound": evaluation.names_by_frame(
            table, evaluation.true_ids(frames, table), clip.num_frames
        ),
    }
    scores = evaluation.score_names(
        frames, namings, table, clip.metric_scale, clip.name
    )
    results.write_scores(folder.path, scores)
    return []


def _summary(folders: Mapping[str, ClipFolder]) -> dict[str, Any]:
    """The numbers of all clips that are scored, and a table of them."""
    per_clip, counts = {}, {key: [] for key in ROWS}
    for name, folder in folders.items():
        scores = results.read_scores(folder.path)
        if not scores:
            continue
        per_clip[name] = {key: row["numbers"] for key, row in scores.items()}
        for key, row in scores.items():
            counts[key].append(row["tracking"])
    if not per_clip:
        return {"clips": {}, "all": {}, "table": ""}
    together = {
        key: combine_sequences(rows).compute() for key, rows in counts.items() if rows
    }
    table = format_table({ROWS[key]: row for key, row in together.items()}, COLUMNS)
    return {"clips": per_clip, "all": to_json(together), "table": table}
