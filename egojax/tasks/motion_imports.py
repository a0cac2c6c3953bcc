"""Flow and point tracks of other tools as the first stages of motion segmentation.

And those of a set of examples, which another run has made; and true flow, where it is
known: so that one sees what the estimate costs.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from egojax.data import (
    arrays,
    cotracker_files,
    flow_files,
    motion_examples,
    point_files,
)
from egojax.data.runs import ClipFolder
from egojax.errors import FrameError, UsageError
from egojax.methods import window_runs
from egojax.task import Progress
from egojax.tasks import clips
from egojax.tasks.motion_folder import flow_file, flow_folder
from egojax.types import Clip, SkippedFrame, Source, WindowTracks

FLOW, TRACKS = "files", "cotracker"  # Of config.flow.method, config.tracks.method.
TRUE = "true"  # Of config.flow.method.
EXAMPLES = "examples"  # Of both, and of config.data.name.
STRETCH = 0.05  # Share by which the shape of other images may differ from the clip's.


def check(config: Any) -> list[str]:
    """What is wrong with the fields of imports, a line each."""
    problems = []
    for name, method in (("flow", FLOW), ("tracks", TRACKS)):
        fields = config[name]
        if fields.method == method and not fields.root:
            problems.append(
                f"config.{name}.method={method} needs --config.{name}.root=FOLDER"
            )
        if fields.method != method and fields.root:
            problems.append(
                f"config.{name}.root={fields.root}: only config.{name}.method={method} "
                "reads it"
            )
        if fields.root and not pathlib.Path(fields.root).is_dir():
            problems.append(f"config.{name}.root={fields.root}: no such folder")
    for name in ("flow", "tracks"):
        if config[name].method == EXAMPLES != config.data.name:
            problems.append(
                f"config.{name}.method={EXAMPLES} goes with "
                f"--config.data.name={EXAMPLES}"
            )
    if config.network.windows == "files" and config.tracks.method != TRACKS:
        problems.append(
            f"config.network.windows=files goes with --config.tracks.method={TRACKS}"
        )
    of_examples = EXAMPLES in (config.flow.method, config.tracks.method)
    if of_examples and (config.data.stride != 1 or config.data.repeat != 1):
        problems.append(
            f"config.flow.method, config.tracks.method={EXAMPLES}: these are of every "
            "frame, once; expected config.data.stride=1 and config.data.repeat=1"
        )
    imported = config.tracks.method == TRACKS
    if imported and (config.data.stride != 1 or config.data.repeat != 1):
        problems.append(
            f"config.tracks.method={TRACKS}: its files are of every frame, once; "
            "expected config.data.stride=1 and config.data.repeat=1"
        )
    if config.flow.method == TRUE and config.data.stride != 1:
        problems.append(
            f"config.flow.method={TRUE}: it is known between neighbouring frames; "
            "expected config.data.stride=1"
        )
    return problems


# ------------------------------------------------------------------------------ flow


def true_flow(
    clip: Clip, folder: ClipFolder, progress: Progress, gaps: Sequence[int] = (1, -1)
) -> list[SkippedFrame]:
    """Writes flow/gap1 and flow/gap-1 as the clip's truth has them.

    Raises:
      UsageError: it is not known, or not over such gaps.
    """
    truth = clip.truth
    if truth is None or truth.flow_fwd is None or truth.flow_bwd is None:
        raise UsageError(
            f"{clip.name}: config.flow.method={TRUE}: the true flow of this clip is "
            "not known; that of the procedural world is"
        )
    if {*gaps} != {1, -1}:
        raise UsageError(
            f"config.flow.method={TRUE} is known between neighbouring frames; expected "
            "config.network.gaps=(1,)"
        )
    for gap, source in ((1, truth.flow_fwd), (-1, truth.flow_bwd)):
        arrays.make_folder(folder.path / flow_folder(gap))
        for t in range(clip.num_frames):
            path = flow_file(folder.path, gap, clip.frame_ids[t])
            flow = None if path.exists() else source[t]
            if flow is not None:
                flow_files.write_flow(path, np.asarray(flow, np.float32))
            progress(t + 1, clip.num_frames)
    return []


def import_flow(
    config: Any,
    clip: Clip,
    folder: ClipFolder,
    progress: Progress,
    gaps: Sequence[int] = (1, -1),
) -> list[SkippedFrame]:
    """Writes flow/gapG/FRAME.npz, at the size of the images, from official folders.

    Args:
      gaps: Frames of the clip; of the files as many more as config.data.stride says.

    Raises:
      UsageError: no flow over such a gap, none of it is of this clip, none can be
        read, or it is of images of another shape.
    """
    sources = _flow_sources(config, clip, gaps)
    for gap in gaps:
        arrays.make_folder(folder.path / flow_folder(gap))
    once = clip.num_frames // config.data.repeat  # A clip that is played anew jumps.
    skipped: dict[int, str] = {}
    for t in range(clip.num_frames):
        for gap, source in sources.items():
            path = flow_file(folder.path, gap, clip.frame_ids[t])
            if not 0 <= t % once + gap < once or path.exists():
                continue
            try:
                flow_files.write_flow(path, _flow_at(clip, source, t, gap))
            except FrameError as err:
                skipped[t] = str(err)
        progress(t + 1, clip.num_frames)
    if skipped and not any((folder.path / "flow").glob("*/*.npz")):
        raise UsageError(f"{clip.name}: no flow can be read: {min(skipped.items())[1]}")
    return [SkippedFrame(t, reason) for t, reason in skipped.items()]


def flow_of_examples(
    config: Any,
    clip: Clip,
    folder: ClipFolder,
    progress: Progress,
    gaps: Sequence[int] = (1, -1),
) -> list[SkippedFrame]:
    """Writes flow/gapG/FRAME.npz as the clip's set of examples has it.

    Raises:
      UsageError: the set has no flow over such a gap.
    """
    examples = _examples(config, clip)
    skipped, missing = [], {*gaps}
    for gap in gaps:
        arrays.make_folder(folder.path / flow_folder(gap))
    for t, name in enumerate(clip.frame_ids):
        try:
            flows = examples[t].flows
        except FrameError as err:
            skipped.append(SkippedFrame(t, str(err)))
            continue
        for gap in gaps:
            path = flow_file(folder.path, gap, name)
            if gap in flows and 0 <= t + gap < clip.num_frames and not path.exists():
                flow_files.write_flow(path, flows[gap])
        missing -= {*flows}
        progress(t + 1, clip.num_frames)
    if missing:
        told = ", ".join(map(str, sorted(missing)))
        raise UsageError(f"{examples.folder}: no flow over gaps of {told}")
    return skipped


def _examples(config: Any, clip: Clip) -> motion_examples.ExampleSet:
    return motion_examples.ExampleSet(clips.example_sets(config.data.root)[clip.name])


def _flow_sources(config: Any, clip: Clip, gaps: Sequence[int]) -> dict[int, Any]:
    root, stride = config.flow.root, config.data.stride
    folders = flow_files.find_flows(root, clip.name)
    known = ", ".join(map(str, folders)) or "none"
    sources = {}
    for gap in gaps:
        if gap * stride not in folders:
            place = pathlib.Path(root) / f"Flows_gap{gap * stride}" / clip.name
            hint = "; config.data.stride is the gap between frames" if folders else ""
            raise UsageError(f"{place}: no such folder; gaps there: {known}{hint}")
    repeat = config.data.repeat
    names = clip.frame_ids[: clip.num_frames // repeat] * repeat
    for gap in gaps:
        place = folders[gap * stride]
        sources[gap] = flow_files.flow_source(place, names), place
    return sources


def _flow_at(
    clip: Clip, source: tuple[Source[np.ndarray | None], pathlib.Path], t: int, gap: int
) -> np.ndarray:
    """Flow at the size of the images.

    Raises:
      FrameError: there is none, or it is damaged.
      UsageError: of images of another shape.
    """
    flows, place = source
    flow = flows[t]
    name = clip.frame_ids[t]
    if flow is None:
        raise FrameError(f"{place}: no flow of {name}, over a gap of {gap}")
    _check_shape(f"{place}: flow of {name}", flow.shape[:2], clip.size_hw)
    return flow_files.resize_flow(flow, clip.size_hw)


def _check_shape(what: str, found: tuple[int, ...], size_hw: tuple[int, int]) -> None:
    (high, wide), (height, width) = found, size_hw
    if abs(wide * height / (high * width) - 1) > STRETCH:
        raise UsageError(
            f"{what} is {wide} x {high}; the images are {width} x {height}, of another "
            "shape"
        )


# ---------------------------------------------------------------------------- tracks


def import_tracks(
    config: Any, clip: Clip, path: pathlib.Path, progress: Progress
) -> list[SkippedFrame]:
    """Writes points.npz from CoTracker's files of the frames, thinned to a grid.

    Raises:
      UsageError: no file is of this clip, none can be read, or the tracks are of
        images of another shape.
    """
    source = track_files(config, clip)
    skipped: list[SkippedFrame] = []
    windows = _windows(clip, source, progress, skipped)
    tracks = window_runs.thinned(
        windows, clip.num_frames, clip.size_hw, config.tracks.stride
    )
    if len(skipped) == clip.num_frames:
        raise UsageError(f"{clip.name}: no tracks can be read: {skipped[0].reason}")
    point_files.write_points(path, tracks)
    return skipped


def track_files(config: Any, clip: Clip) -> Source[WindowTracks | None]:
    """CoTracker's files of a clip by frame, lazily; None where there is none.

    Raises:
      UsageError: no file is of this clip.
    """
    return cotracker_files.cotracker_source(
        *(config.tracks.root, clip.name, clip.frame_ids),
        cut=bool(config.data.max_frames),
    )


def tracks_of_examples(
    config: Any, clip: Clip, path: pathlib.Path
) -> list[SkippedFrame]:
    """Writes points.npz as the clip's set of examples has it."""
    tracks, skipped = _examples(config, clip).tracks(clip.num_frames)
    point_files.write_points(path, tracks)
    return skipped


def _windows(
    clip: Clip,
    source: Source[WindowTracks | None],
    progress: Progress,
    skipped: list[SkippedFrame],
) -> Iterator[WindowTracks]:
    for t in range(clip.num_frames):
        name = clip.frame_ids[t]
        try:
            window = source[t]
        except FrameError as err:
            skipped.append(SkippedFrame(t, str(err)))
            continue
        if window is None:
            skipped.append(SkippedFrame(t, f"no tracks of {clip.name}-{name}"))
            continue
        _check_shape(f"tracks of {clip.name}-{name}", window.size_hw, clip.size_hw)
        yield window
        progress(t + 1, clip.num_frames)
