"""The baselines of motion segmentation as a stage: masks from flow alone."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from egojax.data import arrays, images, motion_results
from egojax.data.motion_results import SoftMasks
from egojax.data.runs import ClipFolder
from egojax.data.stream import host_frames
from egojax.errors import FrameError
from egojax.methods import motion_baselines
from egojax.methods.motion_baselines import ClusterSettings
from egojax.task import Progress, Stage
from egojax.tasks import settings
from egojax.tasks.motion_folder import FLOW, LABELS, OFFICIAL, read_flow
from egojax.types import Clip, SkippedFrame

# Values of config.solver. A frame's image and flow -> labels int32 (H, W), 0 = at rest.
Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]
SOLVERS: dict[str, Callable[[Any], Solver]] = {
    "flow_magnitude": lambda config: _magnitude,
    "flow_clusters": lambda config: _Clusters(config),
}
# What masks depend on, those of points, too: what is told of a change is the solver.
READS = ("solver", "clusters", "masks", "show.official")


def stage(config: Any) -> Stage:
    """Masks, in place of tracks, groups and their masks."""
    return Stage(
        "masks",
        functools.partial(_masks, config),
        reads=settings.fields(config, *READS),
        needs=(FLOW,),
        writes=(LABELS, *OFFICIAL),
    )


def _masks(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    """Writes the label map of every frame that has an image and flow."""
    solve = SOLVERS[config.solver](config)
    arrays.make_folder(folder.path / LABELS)
    skipped = []
    for frame in host_frames(clip, ["frames"], config.read.ahead):
        t = frame.frame_idx
        image = frame.layers.get("frames")
        try:
            flow = None if image is None else _flow_of(clip, folder, t)
        except FrameError as err:
            skipped.append(SkippedFrame(t, str(err)))
            continue
        if frame.skipped is not None:
            skipped.append(frame.skipped)
        if image is not None:
            still = np.zeros(image.shape[:2], np.int32)
            _write(
                config, clip, folder, t, still if flow is None else solve(image, flow)
            )
        progress(t + 1, clip.num_frames)
    return skipped


def _flow_of(clip: Clip, folder: ClipFolder, t: int) -> np.ndarray | None:
    """To the next frame, of the last one back; None = no neighbour could be read."""
    flow = read_flow(clip, folder.path, 1, t)
    return read_flow(clip, folder.path, -1, t) if flow is None else flow


def _write(
    config: Any, clip: Clip, folder: ClipFolder, t: int, labels: np.ndarray
) -> None:
    name = clip.frame_ids[t]
    images.write_labels(folder.path / LABELS / f"{name}.png", labels)
    if config.show.official:
        moves = (labels > 0).astype(np.float32)
        soft = SoftMasks(moves, np.stack([1 - moves, moves]))
        place = folder.path / "official"
        motion_results.write_frame(place, clip.name, name, soft, labels)


def _magnitude(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    del image
    return motion_baselines.flow_magnitude(flow)


class _Clusters:
    """Clusters of a frame start from those of the one before."""

    def __init__(self, config: Any):
        self._settings = ClusterSettings(**config.clusters)
        self._seed = config.seed
        self._centers: np.ndarray | None = None

    def __call__(self, image: np.ndarray, flow: np.ndarray) -> np.ndarray:
        labels, self._centers = motion_baselines.flow_clusters(
            *(image, flow, self._centers, self._settings, self._seed)
        )
        return labels
