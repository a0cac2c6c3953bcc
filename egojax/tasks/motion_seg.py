"""The job of motion segmentation: flow, point tracks, what moves as one body, masks.

Flow and tracks are `motion_signals`. `config.solver` says who finds what moves by them:
`points` groups the tracks (`motion_points`); `network` and `official` learn masks
(`motion_network`); baselines need flow alone (`flow_masks`).
"""

import functools
import pathlib
from collections.abc import Iterator
from typing import Any

from egojax.data import arrays, images, point_files
from egojax.data.runs import ClipFolder
from egojax.errors import FrameError, UsageError
from egojax.methods import motion_scores
from egojax.methods.motion_scores import JudgedFrame
from egojax.task import Progress, Stage, Task
from egojax.tasks import (
    clips,
    flow_masks,
    mask_networks,
    motion_config,
    motion_exports,
    motion_network,
    motion_points,
    motion_signals,
    motion_summary,
    settings,
)
from egojax.tasks.mask_networks import FILE, NETWORKS
from egojax.tasks.motion_folder import GROUPS, LABELS, POINTS, read_points
from egojax.types import Clip, SkippedFrame


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
    flow = motion_signals.flow_stage(config)
    exported = motion_exports.stages(
        *(config, motion_config.both_ways(config), motion_config.fields_of_gaps(config))
    )
    if config.solver in flow_masks.SOLVERS:
        masks = flow_masks.stage(config)
        return (flow, masks, *exported, _score_stage(config, (LABELS,)))
    solved = motion_network if config.solver in NETWORKS else motion_points
    return (
        *(flow, motion_signals.tracks_stage(config)),
        *(*solved.stages(config), *exported),
        _score_stage(config, (POINTS, GROUPS, LABELS)),
    )


def _score_stage(config: Any, needs: tuple[str, ...]) -> Stage:
    return Stage(
        "score",
        functools.partial(_score, config),
        reads=settings.fields(config, "eval"),
        needs=needs,
        writes=("scores.json",),
    )


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
