"""Which clips a config names, and how each is opened."""

import functools
import itertools
import pathlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from egojax.data import (
    aria,
    davis,
    egoseg3d,
    epic,
    fbms,
    folder,
    hot3d,
    motion_examples,
    neuraldiff,
    segtrack,
    world,
)
from egojax.data.world import benchmark, gliding, handling, imperfect
from egojax.errors import UsageError
from egojax.types import Clip

Openers = Mapping[str, Callable[[], Clip]]
Change = Callable[[Any, Clip], Clip]
HAVE_NO_RATE = ("folder", "epic_diff")  # Data sets that may be told their rate.
LEAST_SIDE = 16  # Pixels of the world's images; below, nothing is to be seen in them.


def make(config: Any, prepared: Change, settled: Change) -> Openers:
    """Returns the clips of a config by name; nothing is opened yet.

    Args:
      config: With `data`, and what the reader of `data.name` wants.
      prepared: What the job makes of a clip, given the config, before it is cut,
      settled: and after that.

    Raises:
      UsageError: the data set's folder or its clips are not there.
    """
    if config.data.fps is not None and config.data.name not in HAVE_NO_RATE:
        raise UsageError(f"config.data.fps: {config.data.name} has a rate of its own")
    openers = READERS[config.data.name](config)
    names = safe_names(list(openers))
    return {
        name: functools.partial(_open, config, name, opener, prepared, settled)
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


def _open(
    config: Any,
    name: str,
    opener: Callable[[], Clip],
    prepared: Change,
    settled: Change,
) -> Clip:
    """Opens a clip and cuts it: every n-th frame, at most so many, so often."""
    clip = prepared(config, opener().replace(name=name))
    if not clip.num_frames:
        raise UsageError(f"{name}: no frames")
    stride, count = config.data.stride, config.data.max_frames
    frames = list(range(0, clip.num_frames, stride))[: count or None]
    frames = frames * config.data.repeat
    if frames != list(range(clip.num_frames)):
        clip = clip.select(frames).replace(fps=clip.fps / stride)
    return settled(config, clip)


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


# Scenes with a camera of their own, and their lengths; None = as long as one likes.
SCENES: dict[str, tuple[int | None, Callable[..., Clip]]] = {
    "bench": (benchmark.NUM_FRAMES, benchmark.bench_clip),
    "handling": (handling.LENGTH, handling.handling_clip),
    "gliding": (None, gliding.gliding_clip),
}


def _draw_world(fields: Any, seed: int) -> Clip:
    size_hw = tuple(fields.size_hw)
    if fields.scene in SCENES:
        return _draw_scene(fields, seed, size_hw)
    if not fields.camera_path:
        return world.make_clip(seed, fields.num_frames, size_hw=size_hw)
    path = np.asarray(epic.read_poses(pathlib.Path(fields.camera_path)).w2c)
    path = path[: fields.num_frames] if fields.num_frames else path
    return world.make_clip(seed, len(path), size_hw=size_hw, camera_path=path)


def _draw_scene(fields: Any, seed: int, size_hw: tuple[int, ...]) -> Clip:
    count, make_scene = SCENES[fields.scene]
    if count is None and fields.num_frames and not fields.camera_path:
        return make_scene(seed, size_hw, fields.num_frames)
    if count is None:
        raise UsageError(
            f"clips of config.world.scene={fields.scene} have their own camera: set "
            "config.world.num_frames to 1 or more, leave camera_path alone"
        )
    if fields.num_frames != count or fields.camera_path:
        raise UsageError(
            f"clips of config.world.scene={fields.scene} have {count} frames and "
            f"their own camera: set config.world.num_frames={count}, leave "
            "camera_path alone, and cut with config.data.max_frames"
        )
    return make_scene(seed, size_hw)


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


def num_slots(config: Any) -> int | None:
    """Rows of time codes that a clip is spread over; None = as many as it needs.

    The published networks read a code as a share of all of their rows.
    """
    if config.views.num_slots is None and config.fields.kind != "grid":
        return config.nerf.N_vocab
    return config.views.num_slots


def _epic_diff(config: Any) -> Openers:
    root = _root(config)
    if not config.data.clips and (root / "meta.json").is_file():
        paths = {root.resolve().name: (root, "")}
    else:
        found = ",".join(sorted(p.parent.name for p in root.glob("*/meta.json")))
        if not (config.data.clips or found):
            raise UsageError(
                f"{root}: no scene in it; expected {root}/VID/meta.json, or meta.json"
            )
        paths = {name: (root, name) for name in _names(config, found)}
    fields = config.views
    return {
        name: functools.partial(
            neuraldiff.read_neuraldiff,
            *path,
            fps=config.data.fps,
            slots="auto" if fields.slots == "linear" else fields.slots,
            num_slots=num_slots(config),
            near_floor=fields.near_floor,
        )
        for name, path in paths.items()
    }


def _davis(config: Any) -> Openers:
    root, year = _root(config), config.data.get("year", 2016)
    names = _listed(config, lambda split: davis.sequences(root, split, year))
    read = functools.partial(davis.read_clip, root, year=year)
    return {name: functools.partial(read, name) for name in names}


def _fbms(config: Any) -> Openers:
    root = _root(config)
    names = _listed(config, lambda split: fbms.sequences(root, split))
    return {name: functools.partial(fbms.read_clip, root, name) for name in names}


def _segtrack(config: Any) -> Openers:
    root = _root(config)
    names = _listed(config, lambda split: segtrack.sequences(root))
    return {name: functools.partial(segtrack.read_clip, root, name) for name in names}


def _listed(config: Any, sequences: Callable[[Any], Sequence[str]]) -> list[str]:
    """The clips that the config names; without any, those of its split."""
    if config.data.clips:
        return _names(config, "")
    split = config.data.get("split", "all")
    found = [*sequences(split)]
    if not found:
        raise UsageError(f"{config.data.root}: no clip of config.data.split={split}")
    return found


def example_sets(root: pathlib.Path | str) -> dict[str, pathlib.Path]:
    """The sets of examples in a folder, by the names of their clips."""
    sets = motion_examples.find_sets(root)
    return dict(zip(safe_names([*sets]), sets.values(), strict=True))


def _examples(config: Any) -> Openers:
    root = _root(config)
    sets = example_sets(root)
    names = _names(config, ",".join(sets)) if sets or config.data.clips else []
    missing = [name for name in names if name not in sets]
    if missing or not names:
        raise UsageError(
            f"{root}: no examples{' of ' if missing else ''}{', '.join(missing)}; "
            "expected a run folder of --config.export.examples=True, or "
            f"{motion_examples.FOLDER}/ of one of its clips"
        )
    return {name: functools.partial(_open_set, sets[name], name) for name in names}


def _open_set(folder: pathlib.Path, name: str) -> Clip:
    return motion_examples.ExampleSet(folder).clip(name)


def _recording(read: Callable[..., Clip], stream: str, config: Any) -> Openers:
    root = _root(config)
    stream = config.data.stream or stream
    return {root.resolve().name: functools.partial(read, root, stream)}


READERS: dict[str, Callable[[Any], Openers]] = {
    "world": _world,
    "epic_fields": _epic_fields,
    "folder": _folder,
    "epic_diff": _epic_diff,
    "davis": _davis,
    "fbms": _fbms,
    "segtrack": _segtrack,
    "examples": _examples,
    "hot3d": functools.partial(_recording, hot3d.read_clip, ""),
    "adt": functools.partial(_recording, aria.read_clip, "214-1"),
}
