"""The config of motion segmentation: what is allowed, and its clips.

See `configs/motion_seg.py` for what the fields mean.
"""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from egojax.data import stream
from egojax.data.values import is_int
from egojax.data.world.imperfect import PRESETS
from egojax.errors import UsageError
from egojax.methods.dense_flow import FLOWS, LEAST_SIDE
from egojax.methods.group_masks import MaskSettings
from egojax.methods.lowrank_groups import LowRankSettings
from egojax.methods.lowrank_masks import SHAPE_VALUES, LossSettings
from egojax.methods.motion_groups import GroupSettings
from egojax.methods.point_tracking import TrackSettings
from egojax.methods.still_points import StillSettings
from egojax.metrics import MOTION_PROTOCOLS
from egojax.tasks import clips, mask_training, motion_exports, motion_imports, settings
from egojax.tasks.flow_masks import SOLVERS
from egojax.tasks.mask_networks import NETWORKS
from egojax.types import Clip

HEAD_CHANNELS = 32  # Of groups of norms; heads of attention divide it.
CELL = 4  # Pixels from one patch of DINO to the next.
CHOICES = {
    "data.name": clips.READERS,
    "data.split": ("train", "val", "trainval", "test", "all"),
    "world.faults": PRESETS,
    "world.scene": ("kitchen", *clips.SCENES),
    "solver": ("points", *NETWORKS, *SOLVERS),
    "flow.method": (
        *(*FLOWS, motion_imports.FLOW, motion_imports.TRUE, motion_imports.EXAMPLES),
    ),
    "tracks.method": ("chain", motion_imports.TRACKS, motion_imports.EXAMPLES),
    "group.by": ("low_rank", "affinity"),
    "low_rank.start": ("spectral", "random"),
    "eval.protocol": MOTION_PROTOCOLS,
    "network.windows": ("tracks", "files"),
    "network.front": ("border", "look"),
    "network.front_by": ("clip", "frame"),
    "official.keys": ("recompute", "cached"),
    **{f"network.{name}": words for name, words in mask_training.CHOICES.items()},
}
LEAST = {
    **{f"data.{name}": 1 for name in ("stride", "repeat")},
    "data.max_frames": 0,
    "data.fps": 1e-3,
    "world.num_frames": 0,
    "tracks.stride": 1,
    "tracks.tolerance": 1e-3,
    "tracks.texture": 0,
    "tracks.max_frames": 0,
    "group.piece": 5,
    "group.overlap": 0,
    "group.noise": 1e-6,
    **{
        f"group.{name}": 0
        for name in ("tolerance", "repulsion", "turning", "alike", "calm")
    },
    **{f"group.{name}": 0 for name in ("distant", "moving", "least_motion", "typical")},
    **{f"group.{name}": 1 for name in ("neighbours", "least")},
    **{f"low_rank.{name}": 1 for name in ("restarts", "batch", "keep")},
    **{f"low_rank.{name}": 0 for name in ("steps", "smooth", "price", "apart")},
    "low_rank.masks": 2,
    "low_rank.rank": SHAPE_VALUES,
    **{f"low_rank.{name}": 1e-6 for name in ("rate", "coldest")},
    "still.radius": 1,
    **{f"still.{name}": 0 for name in ("search", "apart")},
    **{f"still.{name}": -2 for name in ("least", "margin", "part_margin")},
    "masks.size": 2,
    **{f"masks.{name}": 1e-9 for name in ("contrast", "floor", "evidence", "epsilon")},
    **{f"masks.{name}": 0 for name in ("detail", "memory", "radius")},
    **{f"export.grid_{name}": 1 for name in ("stride", "step")},
    "export.max_frames": 1,
    "clusters.count": 2,
    "clusters.position": 0,
    **{f"network.{name}": least for name, least in mask_training.LEAST.items()},
    "network.least_motion": 0,
    **{f"official.{name}": 1 for name in ("layers", "hidden")},
    "official.width": HEAD_CHANNELS,
    "official.dropout": 0,
    "read.ahead": 1,
    "read.keep": 0,
}
MOST = {
    "tracks.stride": 1000,
    "group.piece": 2000,
    "group.typical": 100,
    "group.neighbours": 1000,
    "group.distant": 1000,
    "low_rank.masks": 50,
    **{f"low_rank.{name}": 1000 for name in ("restarts", "batch", "keep", "rank")},
    **{f"low_rank.{name}": 1e6 for name in ("steps", "rate", "smooth", "price")},
    "low_rank.apart": 1e6,
    "low_rank.coldest": 1,
    "still.radius": 50,
    "still.search": 10,
    "masks.size": 200,
    "export.grid_stride": 1000,
    "clusters.count": 50,
    "masks.radius": 100,
    **{
        f"masks.{n}": 1e6 for n in ("contrast", "floor", "evidence", "detail", "memory")
    },
    "masks.epsilon": 1e6,
    **{f"network.{name}": most for name, most in mask_training.MOST.items()},
    "official.dropout": 0.99,
}
PATHS = (
    *("data.root", "world.camera_path", "flow.root", "tracks.root", "network.weights"),
    *(f"official.{name}" for name in ("backbone", "merger", "weights")),
)
YEARS = (2016, 2017)
LEAST_WINDOW, LEAST_FRAMES = 3, 2


def check(config: Any) -> None:
    """Refuses what the job does not understand.

    Raises:
      UsageError: a line for each field.
    """
    settings.check(config, CHOICES, LEAST, MOST)
    problems = motion_imports.check(config) + motion_exports.check(config)
    problems += mask_training.problems(config.network, "config.network.")
    problems += _official_problems(config)
    if config.data.year not in YEARS:
        problems.append(f"config.data.year={config.data.year}: there are 2016, 2017")
    if config.group.overlap >= config.group.piece:
        problems.append(
            f"config.group.overlap={config.group.overlap}: expected less than "
            f"config.group.piece={config.group.piece}"
        )
    lengths = tuple(config.group.lengths)
    whole = all(isinstance(n, int) and n >= LEAST_WINDOW for n in lengths)
    if not (lengths and whole and sorted(lengths, reverse=True) == [*lengths]):
        problems.append(
            f"config.group.lengths={lengths}: expected numbers of frames, "
            f"{LEAST_WINDOW} or more, the longest first"
        )
    elif lengths[0] > config.group.piece:
        problems.append(
            f"config.group.lengths={lengths}: longer than what is grouped at once, "
            f"config.group.piece={config.group.piece}"
        )
    elif config.low_rank.rank >= SHAPE_VALUES + 2 * min(config.low_rank.keep, *lengths):
        problems.append(
            f"config.low_rank.rank={config.low_rank.rank}: nothing is beyond it; "
            f"expected less than {SHAPE_VALUES} and 2 of each of "
            f"config.low_rank.keep={config.low_rank.keep}"
        )
    if problems:
        raise UsageError.from_problems(problems)


def _official_problems(config: Any) -> list[str]:
    """What the published network cannot be."""
    found = []
    if config.official.width % HEAD_CHANNELS:
        found.append(
            f"config.official.width={config.official.width}: expected a multiple of "
            f"{HEAD_CHANNELS}"
        )
    sides = tuple(config.network.size_hw)
    if config.solver == "official" and any(is_int(n) and n % CELL for n in sides):
        found.append(
            f"config.network.size_hw={sides}: the published network wants multiples of "
            f"{CELL}, as in (192, 352)"
        )
    if config.solver != "official" and config.official.weights:
        found.append(
            f"config.official.weights={config.official.weights}: published weights go "
            "with config.solver=official"
        )
    if config.solver not in NETWORKS and config.network.weights:
        found.append(
            f"config.network.weights={config.network.weights}: weights go with "
            "config.solver=network or official"
        )
    if config.official.weights and config.network.weights:
        found.append("config.official.weights and config.network.weights: give one")
    return found + _missing_files(config)


def _missing_files(config: Any) -> list[str]:
    """Of published weights: told before hours of learning, not after them."""
    needed = []
    if config.solver == "official":
        needed.append(("backbone", "the weights of DINO, dino_vitbase8_pretrain.pth"))
        if config.official.weights:
            needed.append(("weights", "a checkpoint, such as davis_alt_best.pth"))
    looks = config.network.front == "look" and config.network.num_masks > 2
    if config.solver in NETWORKS and looks:
        needed.append(("merger", "the weights of DINO, dino_deitsmall8_pretrain.pth"))
    return [
        f"config.official.{name}={config.official[name]}: no such file; expected {what}"
        ", as published"
        for name, what in needed
        if not pathlib.Path(config.official[name] or "").is_file()
    ]


def gaps(config: Any) -> tuple[int, ...]:
    """The frames that flow spans, rising.

    1, of which tracks are made, and those of a network. Files of other tools need not
    have it where tracks are given, too.
    """
    if config.solver not in NETWORKS:
        return (1,)
    given = config.flow.method in (motion_imports.FLOW, motion_imports.EXAMPLES)
    chained = not given or config.tracks.method == "chain"
    return tuple(sorted({*config.network.gaps, *((1,) if chained else ())}))


def fields_of_gaps(config: Any) -> tuple[str, ...]:
    """The fields that gaps depend on."""
    return ("network.gaps", "tracks.method") if config.solver in NETWORKS else ()


def both_ways(config: Any) -> tuple[int, ...]:
    """The same gaps forward and back."""
    return tuple(way * gap for gap in gaps(config) for way in (1, -1))


def prepared(config: Any, clip: Clip) -> Clip:
    """Nothing is done to a clip before it is cut."""
    del config
    return clip


def settled(config: Any, clip: Clip) -> Clip:
    """The clip, if there is anything in it that can move.

    Raises:
      UsageError: no images, too small ones, or a single one.
    """
    if clip.frames is None:
        raise UsageError(f"{clip.name}: no images to find motion in")
    if clip.num_frames < LEAST_FRAMES:
        raise UsageError(f"{clip.name}: one frame; motion takes {LEAST_FRAMES} or more")
    if min(clip.size_hw) < LEAST_SIDE:
        high, wide = clip.size_hw
        raise UsageError(
            f"{clip.name}: images of {wide} x {high}; expected {LEAST_SIDE} pixels or "
            "more each way"
        )
    # What a folder calls labels may be the truth: nothing of it is looked at.
    notes = tuple(note for note in clip.notes if "no camera poses" not in note)
    if config.solver == "points" and clip.num_frames < min(config.group.lengths):
        notes += (
            f"{clip.num_frames} frames: nothing can be found to move in less than "
            f"{min(config.group.lengths)}, the shortest of config.group.lengths",
        )
    frames = clip.frames
    if clip.num_frames * math.prod(clip.size_hw) * 3 <= config.read.keep * 1e6:
        frames = stream.kept(frames)
    return clip.replace(
        frames=frames,
        labels=None,
        segments=None,
        notes=notes,
        frame_ids=names_apart(clip.frame_ids),
    )


def names_apart(frame_ids: Sequence[str]) -> tuple[str, ...]:
    """The names of frames, those that come again with the number of their pass.

    What is found of a frame is a file of its name: of a clip that is played again, each
    pass has files of its own. The last number of a name, which tells the frame, stays.
    """
    passes: collections.Counter[str] = collections.Counter()
    names, taken = [], set(frame_ids)
    for name in frame_ids:
        passes[name] += 1
        new = name
        while passes[name] > 1 and new in taken:  # A frame may be named like that.
            new = f"pass{passes[name]}_{new}"
        taken.add(new)
        names.append(new)
    return tuple(names)


def track_settings(config: Any) -> TrackSettings:
    """How points are sown and lost."""
    return TrackSettings(**_fields_of(TrackSettings, config.tracks))


def group_settings(config: Any) -> GroupSettings:
    """What counts as the same motion."""
    return GroupSettings(**_fields_of(GroupSettings, config.group))


def low_rank_settings(config: Any) -> LowRankSettings:
    """How masks are found that are free on the tracks."""
    cost = _fields_of(LossSettings, config.low_rank)
    loss = LossSettings(noise=config.group.noise, **cost)
    return LowRankSettings(loss=loss, **_fields_of(LowRankSettings, config.low_rank))


def still_settings(config: Any) -> StillSettings:
    """When images say that a track stands still."""
    return StillSettings(**_fields_of(StillSettings, config.still))


def mask_settings(config: Any) -> MaskSettings:
    """How what points say is spread over the pixels."""
    return MaskSettings(**config.masks)


def _fields_of(kind: type, section: Any) -> dict[str, Any]:
    """What a section of the config says of the fields of a dataclass."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in section.items() if name in names}
