"""Motion signals of a clip as stages: flow between frames, points followed along it."""

import collections
import functools
from collections.abc import Iterator
from typing import Any

from egojax.data import arrays, flow_files, point_files
from egojax.data.runs import ClipFolder
from egojax.data.stream import host_frames
from egojax.methods import point_tracking
from egojax.methods.dense_flow import FLOWS
from egojax.task import Progress, Stage
from egojax.tasks import motion_config, motion_imports, settings
from egojax.tasks.motion_folder import FLOW, POINTS, KnownFlow, flow_file, flow_folder
from egojax.types import Clip, SkippedFrame


def flow_stage(config: Any) -> Stage:
    """Flow both ways, over all gaps that the solver asks for."""
    return Stage(
        "flow",
        functools.partial(_flow, config),
        reads=settings.fields(config, "flow", *motion_config.fields_of_gaps(config)),
        writes=(FLOW,),
    )


def tracks_stage(config: Any) -> Stage:
    """Points that are followed along the flow."""
    return Stage(
        "tracks",
        functools.partial(_tracks, config),
        # Flow, too: it may have been made anew for a solver without tracks.
        reads=settings.fields(config, "flow", "tracks"),
        needs=(FLOW,),
        writes=(POINTS,),
    )


def _flow(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    """Files that are there are kept: a run that was killed goes on."""
    both = motion_config.both_ways(config)
    if config.flow.method == motion_imports.FLOW:
        return motion_imports.import_flow(config, clip, folder, progress, both)
    if config.flow.method == motion_imports.TRUE:
        return motion_imports.true_flow(clip, folder, progress, both)
    if config.flow.method == motion_imports.EXAMPLES:
        return motion_imports.flow_of_examples(config, clip, folder, progress, both)
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


def _tracks(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    if config.tracks.method == motion_imports.TRACKS:
        path = folder.path / POINTS
        return motion_imports.import_tracks(config, clip, path, progress)
    if config.tracks.method == motion_imports.EXAMPLES:
        return motion_imports.tracks_of_examples(config, clip, folder.path / POINTS)
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
