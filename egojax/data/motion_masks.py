"""Masks of what moves in each frame, as another job or a person left them in a folder.

    00001.png    named as the frame, or with its number; not 0 where something moves

A frame may have none: then nothing is known of it. An empty mask says that all rests.
"""

import pathlib

import numpy as np

from egojax.data import images
from egojax.data.frame_tables import match_frames
from egojax.errors import UsageError
from egojax.types import Clip


def with_motion(clip: Clip, folder: pathlib.Path | str) -> Clip:
    """The clip with the masks, bool (H, W), as its stream "motion".

    Args:
      clip: At the size of the masks.

    Raises:
      UsageError: no folder, or no name in it is a frame's. A mask that cannot be read
        or is of another size is a `FrameError` of its frame.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UsageError(f"config.data.motion={folder}: no such folder")
    found = images.list_frames(folder, images.LABELS)
    paths, notes = match_frames(folder, clip.frame_ids, found)
    masks = images.file_source(paths, _read, clip.size_hw)
    return clip.replace(
        streams={**clip.streams, "motion": masks}, notes=(*clip.notes, *notes)
    )


def _read(path: pathlib.Path, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    return images.read_labels(path, size_hw) > 0
