"""Which clips a config names, and how each is opened."""

import functools
import itertools
import pathlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from egojax.data import aria, egoseg3d, epic, folder, hot3d, world
from egojax.data.world import benchmark, imperfect
from egojax.data.world.faults import Imperfections
from egojax.errors import UsageError
from egojax.methods import static_scene
from egojax.tasks import opening
from egojax.types import Clip

Openers = Mapping[str, Callable[[], Clip]]
LEAST_SIDE = 16  # Pixels of the world's images; below, nothing is to be seen in them.


def make(config: Any) -> Openers:
    """Returns the clips of a config by name; nothing is opened yet.

    Raises:
      UsageError: the data set's folder or its clips are not there.
    """
    if config.data.fps is not None and config.data.name != "folder":
        raise UsageError(f"config.data.fps: {config.data.name} has a rate of its own")
    openers = READERS[config.data.name](config)
    names = safe_names(list(openers))
    return {
        name: functools.partial(_open, config, name, opener)
        for name, opener in zip(names, openers.values(), strict=True)
    }


def safe_names(names: Sequence[str]) -> list[str]:
    """Names that can be folders, different ones for different clips.

    Letters of any language, digits and . , = + - _ stay, all else becomes _; a name
    that is taken by then gets a number.
    """
    plain = [unicodedata.normalize("NFC", name) for name in names]
    plain = [re.sub(r"^\.+|[^\w.,=+-]", "_", name) or "_" for name in plain]
    # A name that needs no change is never given to another clip.
    taken = {new for new, old in zip(plain, names, strict=True) if new == old}
    found = []
    for new, old in zip(plain, names, strict=True):
        tries = (f"{new}-{n}" for n in itertools.count(2))
        name = new
        while name != old and name in taken:
            name = next(tries)
        taken.add(name)
        found.append(name)
    return found


def _open(config: Any, name: str, opener: Callable[[], Clip]) -> Clip:
    """Opens a clip and cuts it: every n-th frame, at most so many, so often."""
    clip = _corrupted(opener().replace(name=name), config)
    if not config.depth.use_lens and clip.camera is not None:
        clip = clip.replace(
            camera=clip.camera.map(
                lambda camera: camera and static_scene.without_lens(camera)
            )
        )
    if not clip.num_frames:
        raise UsageError(f"{name}: no frames")
    stride, count = config.data.stride, config.data.max_frames
    frames = list(range(0, clip.num_frames, stride))[: count or None]
    frames = frames * config.data.repeat
    if frames != list(range(clip.num_frames)):
        clip = clip.select(frames).replace(fps=clip.fps / stride)
    return opening.settled(config, clip)


def _corrupted(clip: Clip, config: Any) -> Clip:
    """True depth made as bad as monocular depth, to be aligned back to the truth."""
    fields = config.data.corrupt_depth
    if not fields.scale:
        return clip
    if clip.depth is None:
        raise UsageError(f"{clip.name}: config.data.corrupt_depth needs true depth")
    faults = Imperfections(
        depth_scale=fields.scale, depth_shift=fields.shift, depth_error=fields.error
    )
    bad = imperfect.monocular(clip.depth, faults, config.seed)
    return clip.replace(depth=bad, static_depth=clip.depth)


def _root(config: Any) -> pathlib.Path:
    if not config.data.root:
        raise UsageError(
            f"config.data.name={config.data.name} needs --config.data.root=FOLDER"
        )
    path = pathlib.Path(config.data.root)
    if not path.exists():
        raise UsageError(f"config.data.root={path}: no such file or folder")
    return path


def _names(config: Any, default: str) -> list[str]:
    words = (config.data.clips or default).split(",")
    names = [word.strip() for word in words if word.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise UsageError(f"config.data.clips={config.data.clips}: repeated or empty")
    return names


def _seeds(text: list[str]) -> list[int]:
    """Seeds and ranges of seeds: ["3", "10-12"] -> 3, 10, 11, 12."""
    seeds: list[int] = []
    for word in text:
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        if not found:
            raise UsageError(
                f"config.data.clips: {word!r} is no seed; expected 0,1,2 or 0-9"
            )
        seeds += range(int(found[1]), int(found[2] or found[1]) + 1)
    return seeds


def _world(config: Any) -> Openers:
    size = tuple(config.world.size_hw)
    whole = all(isinstance(n, int) and n >= LEAST_SIDE for n in size)
    if len(size) != 2 or not whole:
        raise UsageError(
            f"config.world.size_hw={size}: expected height and width, whole numbers "
            f"from {LEAST_SIDE}, such as (96,160)"
        )
    seeds = _seeds(_names(config, str(config.seed)))
    return {
        f"world-{seed}": functools.partial(_make_world, config, seed) for seed in seeds
    }


def _make_world(config: Any, seed: int) -> Clip:
    clip = _draw_world(config.world, seed)
    return imperfect.imperfect(clip, imperfect.PRESETS[config.world.faults], seed)


def _draw_world(fields: Any, seed: int) -> Clip:
    size_hw = tuple(fields.size_hw)
    if fields.bench:
        if fields.num_frames != benchmark.NUM_FRAMES or fields.camera_path:
            raise UsageError(
                f"the benchmark's clips have {benchmark.NUM_FRAMES} frames and their "
                "own camera: leave config.world.num_frames and camera_path alone, and "
                "cut with config.data.max_frames"
            )
        return benchmark.bench_clip(seed, size_hw)
    if not fields.camera_path:
        return world.make_clip(seed, fields.num_frames, size_hw=size_hw)
    path = np.asarray(epic.read_poses(pathlib.Path(fields.camera_path)).w2c)
    path = path[: fields.num_frames] if fields.num_frames else path
    return world.make_clip(seed, len(path), size_hw=size_hw, camera_path=path)


def _epic_fields(config: Any) -> Openers:
    root = _root(config)
    names = _names(config, ",".join(egoseg3d.videos(root)))
    fields = config.official
    return {
        name: functools.partial(
            egoseg3d.read_clip,
            root,
            name,
            segments=fields.segments.replace("{clip}", name),
            features=fields.features,
            truth=fields.truth,
            use_rescale=fields.use_rescale,
            max_number=fields.max_number,
            categories=fields.categories,
            frame_mapping=fields.frame_mapping,
            tap_bug=fields.tap_bug,
        )
        for name in names
    }


def _folder(config: Any) -> Openers:
    root, fps = _root(config), config.data.fps
    if not config.data.clips:
        paths = {folder.name_of(root): root}
    else:
        paths = {name: root / name for name in _names(config, "")}
    return {
        name: functools.partial(folder.read_any, path, fps=fps)
        for name, path in paths.items()
    }


def _recording(read: Callable[..., Clip], stream: str, config: Any) -> Openers:
    root = _root(config)
    stream = config.data.stream or stream
    return {root.resolve().name: functools.partial(read, root, stream)}


READERS: dict[str, Callable[[Any], Openers]] = {
    "world": _world,
    "epic_fields": _epic_fields,
    "folder": _folder,
    "hot3d": functools.partial(_recording, hot3d.read_clip, ""),
    "adt": functools.partial(_recording, aria.read_clip, "214-1"),
}
