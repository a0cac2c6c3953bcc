"""The benchmark of EPIC Fields for one clip: its splits, lists and masks by frame."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from egojax.data import epic_benchmark
from egojax.data.frame_tables import match_frames
from egojax.errors import UsageError
from egojax.methods.benchmark_scores import ANNOTATED, BenchmarkFrame
from egojax.types import Clip, Source, View

JUDGED = "test"  # The split that numbers are published of.


class ClipBenchmark(NamedTuple):
    """What the benchmark says of the frames of a clip, by the clip's names."""

    split: dict[str, tuple[str, ...]]
    lists: dict[str, tuple[str, ...]]  # Of frames of test: the lists that each is in.
    masks: dict[str, Source[Any]]  # By type of motion; a frame without is None.
    notes: tuple[str, ...]

    def frame(self, t: int, name: str) -> BenchmarkFrame | None:
        """What is asked of the clip's frame t; None of one that is not in test.

        Raises:
          FrameError: a mask cannot be read, or is of another size.
        """
        if name not in self.lists:
            return None
        found = {motion: source[t] for motion, source in self.masks.items()}
        masks = {motion: mask for motion, mask in found.items() if mask is not None}
        return BenchmarkFrame(self.lists[name], masks)


def read(root: pathlib.Path | str, clip: Clip) -> ClipBenchmark:
    """Reads what is of the clip, whose name is the video's.

    Frames are matched by name, or where no name is the same by the last number in it.

    Args:
      clip: At the size of the benchmark's masks.

    Raises:
      UsageError: files are missing or malformed, the video or all of its frames are
        not in the benchmark, a frame is in two splits, or it has no masks.
    """
    where = pathlib.Path(root)
    found = epic_benchmark.read_benchmark(where)
    listed = epic_benchmark.split_of(found, clip.name)
    _check_split(where, clip.name, listed)
    every = {name: name for names in listed.values() for name in names}
    if not every:
        raise UsageError(f"{where / 'split'}: {clip.name}: no frames are listed")
    matched, _ = match_frames(where / "split", clip.frame_ids, every)
    place = {name: t for t, name in enumerate(matched) if name is not None}
    known = {
        part: [name for name in names if name in place]
        for part, names in listed.items()
    }
    return ClipBenchmark(
        split={
            part: tuple(clip.frame_ids[place[name]] for name in names)
            for part, names in known.items()
        },
        lists=_lists(clip, found.test.get(clip.name, {}), place),
        masks=_masks(where, clip, found.test.get(clip.name, {}), place),
        notes=_notes(listed, known),
    )


def with_split(clip: Clip, split: Mapping[str, Sequence[str]]) -> Clip:
    """A clip with views, split otherwise; a frame that is not listed has none.

    Raises:
      UsageError: no frame to train on.
    """
    listed = {name: part for part, names in split.items() for name in names}
    views = clip.views
    assert views is not None

    def view(t: int) -> View | None:
        part = listed.get(clip.frame_ids[t])
        found = None if part is None else views[t]
        return None if found is None else found._replace(split=part)

    if not split.get("train"):
        raise UsageError(f"{clip.name}: the benchmark names no frame to train on")
    return clip.replace(views=Source(view, clip.num_frames))


def _check_split(
    where: pathlib.Path, vid: str, listed: Mapping[str, Sequence[str]]
) -> None:
    part_of: dict[str, str] = {}
    problems = []
    for part, names in listed.items():
        for name in dict.fromkeys(names):
            if name in part_of:
                problems.append(
                    f"{where / 'split'}: {vid}: {name} is in {part_of[name]} and "
                    f"{part}, expected in one"
                )
            part_of[name] = part
    if problems:
        raise UsageError.from_problems(problems)


def _lists(
    clip: Clip, lists: epic_benchmark.Lists, place: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for difficulty, names in lists.items():
        for name in dict.fromkeys(names):
            if name in place:
                frame = clip.frame_ids[place[name]]
                found[frame] = (*found.get(frame, ()), difficulty)
    return found


def _masks(
    where: pathlib.Path,
    clip: Clip,
    lists: epic_benchmark.Lists,
    place: Mapping[str, int],
) -> dict[str, Source[Any]]:
    names = [name for name in lists.get(ANNOTATED, ()) if name in place]
    if not names:
        return {}
    row = {place[name]: n for n, name in enumerate(names)}

    def of_clip(source: Source[Any]) -> Source[Any]:
        return Source(lambda t: source[row[t]] if t in row else None, clip.num_frames)

    return {
        motion: of_clip(
            epic_benchmark.mask_source(
                where, JUDGED, motion, clip.name, names, clip.size_hw
            )
        )
        for motion in epic_benchmark.MOTIONS
    }


def _notes(
    listed: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    return tuple(
        f"the benchmark lists {len(names)} frames for {part}, and "
        f"{len(names) - len(known[part])} of them are not in the clip"
        for part, names in listed.items()
        if len(names) > len(known[part])
    )
