"""The job of motion segmentation: flow, point tracks, what moves as one body, masks.

`config.solver` says who finds what moves: `points` groups the tracks; `network` and
`official` learn masks (`motion_network`).
"""

import collections
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from egojax.data import arrays, flow_files, images, motion_results, point_files
from egojax.data.motion_results import SoftMasks
from egojax.data.runs import ClipFolder
from egojax.data.stream import host_frames
from egojax.data.values import flatten
from egojax.errors import FrameError, UsageError
from egojax.methods import (
    clip_groups,
    group_masks,
    lowrank_groups,
    motion_scores,
    point_tracking,
    still_points,
)
from egojax.methods.dense_flow import FLOWS
from egojax.methods.motion_groups import PartOf
from egojax.methods.motion_scores import JudgedFrame
from egojax.task import Progress, Stage, Task
from egojax.tasks import (
    clips,
    flow_masks,
    mask_networks,
    motion_config,
    motion_exports,
    motion_imports,
    motion_network,
    motion_summary,
)
from egojax.tasks.mask_networks import FILE
from egojax.tasks.motion_folder import (
    FLOW,
    GROUPS,
    LABELS,
    OFFICIAL,
    POINTS,
    KnownFlow,
    flow_file,
    flow_folder,
    read_points,
)
from egojax.tasks.motion_network import NETWORKS
from egojax.types import Clip, PointTracks, SkippedFrame


def make(config: Any, mode: str, folder: pathlib.Path) -> Task:
    """Reads the config; see `configs/motion_seg.py` for what its fields mean."""
    if mode == "synthesize":
        raise UsageError(
            "--mode=synthesize: configs/tracking.py writes procedural clips"
        )
    motion_config.check(config)
    learned = {}
    if config.solver in NETWORKS:
        config, learned = _with_weights(config, mode, folder)
    return Task(
        clips=clips.make(config, motion_config.prepared, motion_config.settled),
        stages=_stages(config),
        summary=functools.partial(
            motion_summary.summary, protocol=config.eval.protocol
        ),
        runs=("score",) if mode == "eval" else (),
        paths=motion_config.PATHS,
        **learned,
    )


def _with_weights(
    config: Any, mode: str, folder: pathlib.Path
) -> tuple[Any, dict[str, Any]]:
    """The config with the weights that its run has learned, and how it learns them."""
    config = config.copy_and_resolve_references()
    if config.network.weights and mode != "train":
        config.network.weights = str(mask_networks.weights_file(config.network.weights))
    learned = {}
    if mode == "train":
        if config.network.weights or config.official.weights:
            raise UsageError(
                "--mode=train with weights: it begins anew; leave "
                "config.network.weights and config.official.weights away"
            )
        learned = motion_network.learns(config, folder)
    if mode == "train" or (mode in ("predict", "eval") and (folder / FILE).is_file()):
        config.network.weights = str(folder / FILE)
    return config, learned


def _stages(config: Any) -> tuple[Stage, ...]:
    """The chain. What no stage is said to read, the clip depends on."""
    flat = flatten(config.to_dict())

    def group(*names: str) -> dict[str, Any]:
        return {k: v for k, v in flat.items() if k.split(".")[0] in names}

    is_network = config.solver in NETWORKS
    gaps = {"network.gaps": flat["network.gaps"]} if is_network else {}
    flow = Stage(
        "flow",
        functools.partial(_flow, config),
        reads=group("flow") | gaps,
        writes=(FLOW,),
    )
    # Of masks, whoever makes them: so that what is told of a change is the solver.
    shared = group("solver", "clusters", "masks")
    shared |= {"show.official": config.show.official}
    if config.solver in flow_masks.SOLVERS:
        masks = Stage(
            "masks",
            functools.partial(flow_masks.masks, config),
            reads=shared,
            needs=(FLOW,),
            writes=(LABELS, *OFFICIAL),
        )
        exported = _export_stages(config, gaps)
        return (flow, masks, *exported, _score_stage(config, (LABELS,)))
    tracks = Stage(
        "tracks",
        functools.partial(_tracks, config),
        # Flow, too: it may have been made anew for a solver without tracks.
        reads=group("flow", "tracks"),
        needs=(FLOW,),
        writes=(POINTS,),
    )
    solved = _points_stages(config, group("group", "low_rank", "still"), shared)
    if is_network:
        solved = motion_network.stages(config, flat)
    return (
        *(flow, tracks, *solved, *_export_stages(config, gaps)),
        _score_stage(config, (POINTS, GROUPS, LABELS)),
    )


def _points_stages(
    config: Any, grouped: dict[str, Any], shared: dict[str, Any]
) -> tuple[Stage, ...]:
    """Given what the groups and what the masks read."""
    return (
        Stage(
            "group",
            functools.partial(_group, config),
            reads=grouped,
            needs=(POINTS,),
            writes=(GROUPS,),
        ),
        Stage(
            "masks",
            functools.partial(_masks, config),
            reads=shared,
            needs=(POINTS, GROUPS),
            writes=(LABELS, *OFFICIAL),
        ),
    )


def _export_stages(config: Any, gaps: dict[str, Any]) -> tuple[Stage, ...]:
    if not config.export.signals:
        return ()
    fields = flatten({name: config[name].to_dict() for name in ("export", "flow")})
    both = motion_config.both_ways(config)
    tolerance = {"tracks.tolerance": config.tracks.tolerance}
    stage = Stage(
        "export",
        functools.partial(motion_exports.export, config, both),
        reads=fields | tolerance | gaps,
        needs=(FLOW,),
        writes=motion_exports.writes(both),
    )
    return (stage,)


def _score_stage(config: Any, needs: tuple[str, ...]) -> Stage:
    return Stage(
        "score",
        functools.partial(_score, config),
        reads={f"eval.{name}": value for name, value in config.eval.items()},
        needs=needs,
        writes=("scores.json",),
    )


# ------------------------------------------------------------------------------ flow


def _flow(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    """Files that are there are kept: a run that was killed goes on."""
    both = motion_config.both_ways(config)
    if config.flow.method == motion_imports.FLOW:
        return motion_imports.import_flow(config, clip, folder, progress, both)
    if config.flow.method == motion_imports.TRUE:
        return motion_imports.true_flow(clip, folder, progress, both)
    method, gaps = FLOWS[config.flow.method], motion_config.gaps(config)
    for way in both:
        arrays.make_folder(folder.path / flow_folder(way))
    skipped: list[SkippedFrame] = []
    before: collections.deque = collections.deque(maxlen=max(gaps))
    for frame in host_frames(clip, ["frames"], config.read.ahead):
        t = frame.frame_idx
        if frame.skipped is not None:
            skipped.append(frame.skipped)
        image = frame.layers.get("frames")
        for gap in gaps:
            then = before[-gap] if gap <= len(before) else None
            if image is not None and then is not None:
                name, later = clip.frame_ids[t - gap], clip.frame_ids[t]
                for path, pair in (
                    (flow_file(folder.path, gap, name), (then, image)),
                    (flow_file(folder.path, -gap, later), (image, then)),
                ):
                    if not path.exists():
                        flow_files.write_flow(path, method(*pair))
        before.append(image)
        progress(t + 1, clip.num_frames)
    return skipped


# ---------------------------------------------------------------------------- tracks


def _tracks(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    if config.tracks.method == motion_imports.TRACKS:
        path = folder.path / POINTS
        return motion_imports.import_tracks(config, clip, path, progress)
    known = KnownFlow(clip, folder.path)
    tracks = point_tracking.gather(_seen(config, clip, known, progress), clip.size_hw)
    point_files.write_points(folder.path / POINTS, tracks)
    return known.skipped()


def _seen(
    config: Any, clip: Clip, known: KnownFlow, progress: Progress
) -> Iterator[point_tracking.Seen]:
    settings = motion_config.track_settings(config)
    state = point_tracking.start()
    flow = None  # That leads to the frame.
    for frame in host_frames(clip, ["frames"], config.read.ahead):
        t = frame.frame_idx
        image = frame.layers.get("frames")
        if image is None:
            flow, state = None, point_tracking.skip(state)
            continue
        onward = known(1, t)
        back = None if flow is None else known(-1, t)
        state, seen = point_tracking.step(state, image, flow, back, onward, settings)
        yield seen
        flow = onward
        progress(t + 1, clip.num_frames)


# ----------------------------------------------------------------------------- group


def _group(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    tracks = read_points(clip, folder.path)
    found = clip_groups.group_clip(
        tracks,
        clip.num_frames,
        lengths=tuple(config.group.lengths),
        piece=config.group.piece,
        overlap=config.group.overlap,
        settings=motion_config.group_settings(config),
        still_of=_still(config, clip, tracks) if config.still.check else None,
        part_of=_part_of(config),
        seed=config.seed,
        progress=progress,
    )
    point_files.write_groups(folder.path / GROUPS, found)
    return []


def _part_of(config: Any) -> PartOf | None:
    if config.group.by == "affinity":
        return None
    return functools.partial(
        lowrank_groups.low_rank_parts,
        settings=motion_config.low_rank_settings(config),
    )


def _still(config: Any, clip: Clip, tracks: PointTracks) -> clip_groups.StillOf:
    """What the images say; those of a window are kept."""
    frames = clip.frames
    assert frames is not None

    @functools.lru_cache(max(config.group.lengths))
    def details_of(t: int) -> np.ndarray | None:
        try:
            return still_points.details(frames[t])
        except FrameError:
            return None

    return functools.partial(
        still_points.find_still,
        tracks=tracks,
        details_of=details_of,
        settings=motion_config.still_settings(config),
    )


# ----------------------------------------------------------------------------- masks


def _masks(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    assert clip.frames is not None
    tracks = read_points(clip, folder.path)
    group = point_files.read_groups(folder.path / GROUPS, len(tracks))
    arrays.make_folder(folder.path / LABELS)
    skipped = []
    count = max(int(group.max(initial=0)), 0) + 1
    if config.show.official and count > motion_results.OFFICIAL:
        raise UsageError(
            f"{clip.name}: {count - 1} groups; the published files hold "
            f"{motion_results.OFFICIAL - 1}: --config.show.official=False, or a larger "
            "config.group.least"
        )
    found = group_masks.soft_masks(
        clip.frames, tracks, group, count, motion_config.mask_settings(config)
    )
    for frame in found:
        if frame.skipped is not None:
            skipped.append(frame.skipped)
        labels = frame.labels
        if labels is None:
            continue
        name = clip.frame_ids[frame.frame_idx]
        images.write_labels(folder.path / LABELS / f"{name}.png", labels)
        if config.show.official:
            scores = frame.planes(count)
            assert scores is not None
            soft = SoftMasks(1 - scores[0], scores)
            motion_results.write_frame(
                folder.path / "official", clip.name, name, soft, labels
            )
        progress(frame.frame_idx + 1, clip.num_frames)
    return skipped


# ----------------------------------------------------------------------------- score


def _score(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    skipped: list[SkippedFrame] = []
    tracks = group = None
    if config.solver not in flow_masks.SOLVERS:  # Those follow no points.
        tracks = read_points(clip, folder.path)
        group = point_files.read_groups(folder.path / GROUPS, len(tracks))
    judged = _judged(clip, folder, progress, skipped)
    found = motion_scores.score_clip(judged, tracks, group)
    rows = {
        "names": found.names,
        "frames": {clip.frame_ids[t]: row for t, row in found.frames.items()},
        "pairs": {str(body): group for body, group in found.pairs.items()},
    }
    arrays.write_json(folder.path / "scores.json", rows)
    return skipped


def _judged(
    clip: Clip, folder: ClipFolder, progress: Progress, skipped: list[SkippedFrame]
) -> Iterator[JudgedFrame]:
    for t, truth in motion_scores.true_frames(clip):
        path = folder.path / LABELS / f"{clip.frame_ids[t]}.png"
        try:
            labels = images.read_labels(path, clip.size_hw)
        except FrameError as err:
            skipped.append(SkippedFrame(t, str(err)))
            continue
        yield JudgedFrame(t, truth, labels)
        progress(t + 1, clip.num_frames)
