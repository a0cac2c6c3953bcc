"""Flow and tracks of a clip as the published tools leave them, for its own training.

    official/Flows_gap1/CLIP/FRAME.flo, and so on for all gaps of the stage flow
    official/Tracks/cotrackerv2_rel_stride4_aux2/CLIP-FRAME.pt

The published tracker follows a grid of points of every frame through the window around
it, in images of 480 x 854; here along the flow. What is there is kept, so that a run
that was stopped goes on.

And for our own training, all in one place: examples/, see `data.motion_examples`.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from egojax.data import arrays, cotracker_files, flow_files, motion_examples
from egojax.data.motion_examples import MotionExample
from egojax.data.runs import ClipFolder
from egojax.data.stream import host_frames
from egojax.methods.point_following import FlowStep, follow
from egojax.ops.track_grids import Extraction, extraction, grid_offset, grid_points
from egojax.task import Progress, Stage
from egojax.tasks import flow_masks, settings
from egojax.tasks.motion_folder import FLOW, POINTS, KnownFlow, read_points
from egojax.types import Clip, SkippedFrame, WindowTracks

FLOWS = "official/Flows_gap{gap}"
TRACKS = "official/Tracks/cotrackerv2_rel_stride{stride}_aux2"
EXAMPLES = motion_examples.FOLDER
AGAIN = 2  # Frames in a row that a lost point must be right in to be seen again.
MEMORY = 5e8  # Bytes of flow that are kept, about.

Steps = Callable[[int, int], FlowStep | None]  # From a frame to the one beside it.


def check(config: Any) -> list[str]:
    """What is wrong with the fields of exports, a line each."""
    size = tuple(config.export.size_hw)
    problems = []
    if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        problems.append(
            f"config.export.size_hw={size}: expected height and width, as in (480,854)"
        )
    once = config.data.stride == 1 and config.data.repeat == 1
    if config.export.signals and not once:
        problems.append(
            "config.export.signals: official files are of every frame, once; expected "
            "config.data.stride=1 and config.data.repeat=1"
        )
    if config.export.examples and config.solver in flow_masks.SOLVERS:
        problems.append(
            f"config.export.examples: config.solver={config.solver} follows no points; "
            "expected a solver that does, such as points"
        )
    return problems


def stages(config: Any, gaps: Sequence[int], of_gaps: Sequence[str]) -> list[Stage]:
    """What is exported.

    Args:
      gaps: Of the flow that there is, both ways.
      of_gaps: The fields that these depend on.
    """
    found = []
    if config.export.examples:
        stage = Stage(
            EXAMPLES,
            functools.partial(_examples, gaps),
            reads=settings.fields(config, "flow", "tracks", *of_gaps),
            needs=(FLOW, POINTS),
            writes=(EXAMPLES,),
        )
        found.append(stage)
    if config.export.signals:
        fields = ("export", "flow", "tracks.tolerance", *of_gaps)
        kept = settings.fields(config, *fields)
        del kept["export.examples"]
        stage = Stage(
            "export",
            functools.partial(export, config, gaps),
            reads=kept,
            needs=(FLOW,),
            writes=writes(gaps),
        )
        found.append(stage)
    return found


def _examples(
    gaps: Sequence[int], clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    place = folder.path / EXAMPLES
    if (place / motion_examples.INDEX).exists():
        return []  # It was finished before the run was stopped.
    known = KnownFlow(clip, folder.path)
    tracks = read_points(clip, folder.path)
    skipped: list[SkippedFrame] = []

    def rows() -> Iterator[MotionExample]:
        for frame in host_frames(clip, ["frames"], 1):
            t = frame.frame_idx
            if frame.skipped is not None:
                skipped.append(frame.skipped)
            flows = {gap: known(gap, t) for gap in gaps}
            yield MotionExample(
                frame.layers.get("frames"),
                {gap: flow for gap, flow in flows.items() if flow is not None},
                *motion_examples.beginnings(tracks, t),
            )
            progress(t + 1, clip.num_frames)

    motion_examples.write_examples(
        *(place, clip.frame_ids, clip.size_hw, clip.fps, rows())
    )
    return skipped + known.skipped()


def writes(gaps: Sequence[int]) -> tuple[str, ...]:
    """The folders that `export` writes, given the gaps of the flow that there is."""
    return ("official/Tracks", *(FLOWS.format(gap=gap) for gap in gaps))


def export(
    config: Any,
    gaps: Sequence[int],
    clip: Clip,
    folder: ClipFolder,
    progress: Progress,
) -> list[SkippedFrame]:
    """Writes flow and tracks of every frame.

    Args:
      gaps: Of the flow that there is, both ways.
    """
    fields, known = config.export, KnownFlow(clip, folder.path)
    for gap in gaps:
        _export_flow(clip, folder, gap, known)
    place = folder.path / TRACKS.format(stride=fields.grid_stride)
    arrays.make_folder(place)
    steps = _steps(clip, known)
    for t, name in enumerate(clip.frame_ids):
        path = place / f"{clip.name}-{name}.pt"
        if not path.exists():
            offset = grid_offset(t, fields.grid_stride)
            window = extraction(clip.num_frames, t, fields.max_frames)
            tracks = _tracks_of(config, clip, window, offset, steps)
            cotracker_files.write_cotracker(
                *(path, tracks, clip.name, offset, fields.grid_stride)
            )
        progress(t + 1, clip.num_frames)
    return known.skipped()


def _export_flow(clip: Clip, folder: ClipFolder, gap: int, known: KnownFlow) -> None:
    place = folder.path / FLOWS.format(gap=gap) / clip.name
    arrays.make_folder(place)
    for t, name in enumerate(clip.frame_ids):
        path = place / f"{name}.flo"
        flow = None if path.exists() else known(gap, t)
        if flow is not None:
            flow_files.write_flo(path, flow)


def _steps(clip: Clip, known: KnownFlow) -> Steps:
    """Steps between frames; the last ones that were asked for stay in memory."""
    kept = max(4, int(MEMORY / (17 * clip.size_hw[0] * clip.size_hw[1])))

    @functools.lru_cache(maxsize=kept)
    def step(here: int, there: int) -> FlowStep | None:
        flow, back = known(there - here, here), known(here - there, there)
        return None if flow is None or back is None else FlowStep.of(flow, back)

    return step


def _tracks_of(
    config: Any,
    clip: Clip,
    window: Extraction,
    offset: tuple[int, int],
    steps: Steps,
) -> WindowTracks:
    """The grid of a frame through its window, in pixels of `export.size_hw`."""
    high, wide = config.export.size_hw
    scale = np.array([clip.size_hw[1] / wide, clip.size_hw[0] / high], np.float32)
    points = grid_points((high, wide), offset, config.export.grid_stride) * scale
    length = window.stop - window.first
    places = np.empty((length, len(points), 2), np.float32)
    seen = np.empty((length, len(points)), bool)
    parts = config.export.grid_step**2
    for part in range(parts):
        rows = slice(part, None, parts)
        found = _both_ways(points[rows], window, steps, config.tracks.tolerance)
        places[:, rows], seen[:, rows] = found
    frames = np.arange(window.first, window.stop, dtype=np.int32)
    return WindowTracks(places / scale, seen, frames, window.query, (high, wide))


def _both_ways(
    points: np.ndarray, window: Extraction, steps: Steps, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Places (T, N, 2) and whether points are seen (T, N), from the query's frame."""
    begin = np.zeros(len(points), int)
    frame = window.first + window.query
    ahead = (steps(t, t + 1) for t in range(frame, window.stop - 1))
    behind = (steps(t, t - 1) for t in range(frame, window.first, -1))
    after = follow(points, begin, ahead, tolerance, AGAIN)
    before = follow(points, begin, behind, tolerance, AGAIN)
    places, seen = (
        np.concatenate([old[:0:-1], new])
        for old, new in zip(before, after, strict=True)
    )
    return places, seen
