"""FBMS-59, as released or as converted for LRTL -> Clip.

    ROOT/Testset/SEQ/NAME.jpg                      also Trainingset
    ROOT/Testset/SEQ/GroundTruth/NAME.pgm          or NAME_gt.ppm, of some frames

    ROOT/JPEGImages/SEQ/00001.jpg                  FBMS_clean, FBMS_val: frames by
    ROOT/Annotations/SEQ/00001.png                 their place from 1, 0 and 255

Truth is sparse: frames without an annotation have None. In .ppm files the background
is white. One foreground, label 1, is made of all objects.

Source: Ochs, Malik, Brox 2014; Yang et al. 2021 (motiongrouping), tools/FBMS_clean.py.
Differs: annotations belong to the image with their number, where images have numbers of
their own; counting the images is for releases where they do not.
"""

import pathlib
from collections.abc import Mapping
from typing import Literal

import cv2
import numpy as np

from egojax.data import annotated, images
from egojax.errors import UsageError
from egojax.types import Clip

Split = Literal["train", "test", "all"]
SETS = {"train": "Trainingset", "test": "Testset"}
FPS = 30.0  # Nobody says.
# The test sequences, which are those of the published numbers.
TEST = (
    *("camel01", "cars1", "cars10", "cars4", "cars5", "cats01", "cats03", "cats06"),
    *("dogs01", "dogs02", "farm01", "giraffes01", "goats01", "horses02", "horses04"),
    *("horses05", "lion01", "marple12", "marple2", "marple4", "marple6", "marple7"),
    *("marple9", "people03", "people1", "people2", "rabbits02", "rabbits03"),
    *("rabbits04", "tennis"),
)
THRESHOLDS = {"marple7": 0.05, "marple2": 0.4}  # Of gray / 255; 0.1 elsewhere.
WHITE = 0.99


def sequences(root: pathlib.Path | str, split: Split = "test") -> tuple[str, ...]:
    """The names of the sequences of a split.

    Raises:
      UsageError: no such root or split, or, of a converted one, test sequences that it
        lacks.
    """
    root = pathlib.Path(root)
    if split not in (*SETS, "all"):
        known = ", ".join((*SETS, "all"))
        raise UsageError(f"{root}: no split {split!r} of FBMS-59; there are {known}")
    if not _is_converted(root):
        wanted = [split] if split in SETS else list(SETS)
        names = [annotated.subfolders(root / SETS[s]) for s in wanted]
        return tuple(name for part in names for name in part)
    there = annotated.subfolders(root / "JPEGImages")
    if split == "test":
        return annotated.chosen(root / "JPEGImages", there, TEST)
    return tuple(name for name in there if split == "all" or name not in TEST)


def read_clip(root: pathlib.Path | str, sequence: str) -> Clip:
    """Reads a sequence: frames, and the annotations as truth, None where there is none.

    Raises:
      UsageError: there is no such sequence, or annotations that are of no frame.
    """
    root = pathlib.Path(root)
    if _is_converted(root):
        folder = annotated.sequence_folder(root / "JPEGImages", sequence)
        clip = annotated.frames_clip(folder, sequence, FPS)
        return annotated.with_annotations(clip, root / "Annotations" / sequence)
    sets = [root / name for name in SETS.values() if (root / name / sequence).is_dir()]
    if not sets:
        raise UsageError(
            f"{root}: no sequence {sequence!r}; expected it in Trainingset/ or "
            "Testset/, or JPEGImages/ in a converted set"
        )
    folder = annotated.sequence_folder(sets[0], sequence)
    clip = annotated.frames_clip(folder, sequence, FPS)
    masks = folder / "GroundTruth"
    if not masks.is_dir():
        return clip.replace(notes=(*clip.notes, f"{masks}: no annotations"))
    paths, notes = annotated.matched(masks, clip, _by_frame(masks, clip))

    def read(path: pathlib.Path, size_hw: tuple[int, int]) -> np.ndarray:
        return read_truth(path, size_hw, THRESHOLDS.get(sequence, 0.1))

    labels = images.file_source(paths, read, clip.size_hw)
    return annotated.with_truth(clip, labels, notes)


def read_truth(
    path: pathlib.Path,
    size_hw: tuple[int, int] | None = None,
    threshold: float = 0.1,
) -> np.ndarray:
    """Reads a released annotation: 1 = an object, 0 = background, int32.

    Args:
      threshold: Of gray / 255; above it is an object, but for white in .ppm files.

    Raises:
      FrameError: unreadable, or of another size.
    """
    gray = cv2.cvtColor(images.read_image(path, size_hw), cv2.COLOR_RGB2GRAY) / 255.0
    found = gray > threshold
    if path.suffix.lower() == ".ppm":
        found &= gray <= WHITE
    return found.astype(np.int32)


def _is_converted(root: pathlib.Path) -> bool:
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    return (root / "JPEGImages").is_dir()


def _by_frame(folder: pathlib.Path, clip: Clip) -> Mapping[str, pathlib.Path]:
    """The annotations by the frame that each is of.

    Raises:
      UsageError: none there, one without a number, or two of one number.
    """
    paths = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    colored = [p for p in paths if p.suffix.lower() == ".ppm" and "PROB" not in p.name]
    paths = colored or [p for p in paths if p.suffix.lower() == ".pgm"]
    # The number of a sequence, as in "cars1_gt", is none of a frame.
    numbers = [images.last_number(p.stem.removeprefix(clip.name)) for p in paths]
    rows = zip(numbers, paths, strict=True)
    by_number = {n: path for n, path in rows if n is not None}
    if not paths or len(by_number) < len(paths):
        raise UsageError(
            f"{folder}: {len(paths)} annotations (.ppm or .pgm) with "
            f"{len(by_number)} different numbers; expected one a frame"
        )
    own = [images.last_number(name) for name in clip.frame_ids]
    names = {
        n: name for n, name in zip(own, clip.frame_ids, strict=True) if n is not None
    }
    if not set(by_number) <= set(names):
        names = dict(enumerate(clip.frame_ids, 1))
    return {names.get(n, path.stem): path for n, path in by_number.items()}
