"""What data sets of annotated videos share: their folders, and clips with truth."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from egojax.data import images
from egojax.data.frame_tables import match_frames
from egojax.errors import UsageError
from egojax.types import Clip, Source

# What Pillow reads of the images that such sets are released with.
FRAMES = (*images.IMAGES, ".ppm", ".pgm")


def subfolders(folder: pathlib.Path) -> tuple[str, ...]:
    """The names of the folders in a folder, numbers in numeric order.

    Raises:
      UsageError: no such folder, or no folder in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    names = [name for name in names if not name.startswith(".")]
    if not names:
        raise UsageError(f"{folder}: no folders of sequences here")
    return tuple(sorted(names, key=images.natural_key))


def chosen(
    where: pathlib.Path, there: Sequence[str], wanted: Sequence[str]
) -> tuple[str, ...]:
    """The wanted sequences, all of which must be there.

    Raises:
      UsageError: some are not.
    """
    missing = [name for name in wanted if name not in there]
    if missing:
        raise UsageError(
            f"{where}: without {len(missing)} of {len(wanted)} sequences: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
        )
    return tuple(wanted)


def sequence_folder(where: pathlib.Path, sequence: str) -> pathlib.Path:
    """The folder of a sequence.

    Raises:
      UsageError: there is none of that name.
    """
    there = subfolders(where)
    if sequence not in there:
        known = ", ".join(there[:5]) + (", ..." if len(there) > 5 else "")
        raise UsageError(f"{where}: no sequence {sequence!r}; there are {known}")
    return where / sequence


def frames_clip(folder: pathlib.Path, sequence: str, fps: float) -> Clip:
    """A clip of the images in a folder.

    Raises:
      UsageError: no images, or none that can be read.
    """
    found = images.list_frames(folder, FRAMES)
    paths = list(found.values())
    size_hw = images.first_size(paths, images.read_image)
    frames = images.file_source(paths, images.read_image, size_hw)
    return Clip(sequence, tuple(found), size_hw, fps, frames=frames)


def with_truth(clip: Clip, labels: Source[Any], notes: Sequence[str] = ()) -> Clip:
    """The clip with true labels, int32 (H, W) or None, and what to tell of them."""
    truth = clip.replace(labels=labels, notes=())
    return clip.replace(truth=truth, notes=(*clip.notes, *notes))


def with_annotations(
    clip: Clip,
    folder: pathlib.Path,
    read: Callable[[pathlib.Path, tuple[int, int]], Any] = images.read_foreground,
) -> Clip:
    """The clip with the annotations of a folder as truth; without it if there is none.

    Raises:
      UsageError: files there, but none is a frame's.
    """
    if not folder.is_dir():
        return clip.replace(notes=(*clip.notes, f"{folder}: no annotations"))
    paths, notes = matched(folder, clip, images.list_frames(folder, FRAMES))
    return with_truth(clip, images.file_source(paths, read, clip.size_hw), notes)


def matched(
    folder: pathlib.Path, clip: Clip, found: Mapping[str, pathlib.Path]
) -> tuple[list[pathlib.Path | None], tuple[str, ...]]:
    """The annotation of each frame, None for those without, and what to tell."""
    return match_frames(folder, clip.frame_ids, found)
