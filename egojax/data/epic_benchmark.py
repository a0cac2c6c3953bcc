"""The benchmark of EPIC Fields: which frames are for what, and its masks.

    ROOT/split/train.json           {VID: [FRAME.jpg, ...]}
    ROOT/split/val.json, test.json  {VID: {DIFFICULTY: [FRAME.jpg, ...]}}
    ROOT/annotations/SPLIT_MOTION/VID/FRAME.png

Masks have 0 = background, 1 = positive, 2 = ambiguous, 3 = body parts.

Source: Tschernezki et al. 2023 (EPIC Fields), epic-fields-nvs-udos. The annotations
were replaced on 10 February 2024; numbers of the first version belong to older ones.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.data import arrays, images
from egojax.errors import FrameError, UsageError
from egojax.types import Source

DIFFICULTIES = ("within_action", "outside_action", "outside_action_easy")
MOTIONS = ("dynamic", "semistatic", "dynamic_semistatic")
HELD_OUT = ("val", "test")

Lists = Mapping[str, tuple[str, ...]]  # Names of frames, without suffix.


class Benchmark(NamedTuple):
    """Frames of each video; those of val and test also by difficulty."""

    train: Lists
    val: Mapping[str, Lists]
    test: Mapping[str, Lists]


def read_benchmark(root: pathlib.Path | str) -> Benchmark:
    """Reads the three lists.

    Returns:
      Frames in the order of the files. A difficulty that a video lacks has no frames.

    Raises:
      UsageError: missing or malformed; a line for each problem of all three.
    """
    folder = pathlib.Path(root) / "split"
    problems: list[str] = []
    train = {
        vid: _frames(f"{folder / 'train.json'}: {vid}", given, problems)
        for vid, given in _videos(folder / "train.json", problems).items()
    }
    held = [_held_out(folder / f"{name}.json", problems) for name in HELD_OUT]
    if problems:
        raise UsageError.from_problems(problems)
    return Benchmark(train, *held)


def split_of(benchmark: Benchmark, vid: str) -> dict[str, tuple[str, ...]]:
    """The frames of a video by split, as `data.views.with_views` takes them.

    Raises:
      UsageError: the benchmark has no such video.
    """
    known = {*benchmark.train, *benchmark.val, *benchmark.test}
    if vid not in known:
        some = ", ".join([*sorted(known)[:5], "..."]) if known else "none"
        raise UsageError(f"{vid}: not in the benchmark; there are {some}")
    held = (getattr(benchmark, name).get(vid, {}) for name in HELD_OUT)
    rows = (
        tuple(dict.fromkeys(frame for frames in lists.values() for frame in frames))
        for lists in held
    )
    found = {"train": benchmark.train.get(vid, ())}
    return found | dict(zip(HELD_OUT, rows, strict=True))


def mask_source(
    root: pathlib.Path | str,
    split: str,
    motion: str,
    vid: str,
    frame_ids: Sequence[str],
    size_hw: tuple[int, int],
) -> Source[Any]:
    """The masks of some frames, uint8 (H, W), read on demand.

    Args:
      split: "val" or "test".
      motion: One of `MOTIONS`.
      frame_ids: Names without suffix.
      size_hw: Of the masks.

    Returns:
      Values 0 to 3; None for a frame that is not annotated.

    Raises:
      UsageError: no such split, motion or folder.
    """
    if split not in HELD_OUT or motion not in MOTIONS:
        raise UsageError(
            f"masks {split}_{motion}: there are {' and '.join(HELD_OUT)} with "
            f"{', '.join(MOTIONS)}"
        )
    folder = pathlib.Path(root) / "annotations" / f"{split}_{motion}" / _name(vid)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected masks FRAME.png in it")
    paths = [folder / f"{_name(frame)}.png" for frame in frame_ids]
    there = [path if path.is_file() else None for path in paths]
    return images.file_source(there, read_mask, size_hw)


def read_mask(path: pathlib.Path, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a mask, uint8 (H, W), values 0 to 3.

    One whose largest value is 255 has 0 and 255, for 0 and 1.

    Raises:
      FrameError: unreadable, of other values, or of another size.
    """
    found = images.read_labels(path, size_hw)
    levels = np.unique(found).tolist()
    if levels == [255] or levels == [0, 255]:
        return (found > 0).astype(np.uint8)
    if levels and levels[-1] > 3:
        raise FrameError(
            f"{path}: values {levels[:5]}; a mask has 0 to 3, or 0 and 255"
        )
    return found.astype(np.uint8)


# ---------------------------------------------------------------------------- checks


def _name(given: str) -> str:
    """A name that is one part of a path.

    Raises:
      UsageError: it is a path, or none.
    """
    is_name = given != ".." and pathlib.PurePath(given).name == given
    if not given or not is_name or not given.isprintable():
        raise UsageError(f"{given!r:.80} is no name of a video or frame")
    return given


def _held_out(path: pathlib.Path, problems: list[str]) -> dict[str, Lists]:
    out: dict[str, Lists] = {}
    for vid, given in _videos(path, problems).items():
        where = f"{path}: {vid}"
        if not isinstance(given, dict):
            problems.append(f"{where}: expected an object by difficulty")
            continue
        for key in given:
            if key not in DIFFICULTIES:
                known = ", ".join(DIFFICULTIES)
                problems.append(f"{where}: {key!r:.80}: expected one of {known}")
        out[vid] = {
            key: _frames(f"{where}: {key}", given.get(key, []), problems)
            for key in DIFFICULTIES
        }
    return out


def _videos(path: pathlib.Path, problems: list[str]) -> dict[str, Any]:
    """What a file has for each video; what is wrong goes to `problems`."""
    try:
        data = arrays.read_json(path)
    except UsageError as err:
        problems.append(str(err))
        return {}
    if not isinstance(data, dict):
        problems.append(f"{path}: expected an object by video")
        return {}
    out = {}
    for vid, given in data.items():
        try:
            out[_name(vid)] = given
        except UsageError as err:
            problems.append(f"{path}: {err}")
    return out


def _frames(where: str, given: Any, problems: list[str]) -> tuple[str, ...]:
    if not isinstance(given, list):
        problems.append(f"{where}: expected a list of frames")
        return ()
    frames = []
    for name in given:
        try:
            frames.append(arrays.frame_name(name))
        except ValueError as err:
            problems.append(f"{where}: {err}")
    return tuple(frames)
