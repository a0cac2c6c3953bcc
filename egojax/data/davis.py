"""DAVIS 2016 and 2017 -> Clip.

    ROOT/JPEGImages/480p/SEQ/00000.jpg       or 1080p, Full-Resolution, or none of these
    ROOT/Annotations/480p/SEQ/00000.png      2016: 0 and 255; 2017: a palette of objects
    ROOT/Annotations_unsupervised/480p/...   2017, of all that moves
    ROOT/ImageSets/2017/val.txt              names of sequences, a line each
    ROOT/ImageSets/480p/val.txt              2016: the two files of each frame

Source: Perazzi et al. 2016; Pont-Tuset et al. 2017; Caelles et al. 2019.
"""

import pathlib
from typing import Literal

from egojax.data import annotated, arrays, images
from egojax.errors import UsageError
from egojax.types import Clip

Split = Literal["train", "val", "trainval", "all"]
Year = Literal[2016, 2017]
SIZES = ("480p", "1080p", "Full-Resolution")
FPS = 24.0
# The validation sequences of DAVIS 2016, which are those of the published numbers.
VAL_2016 = (
    *("dog", "cows", "goat", "camel", "libby", "parkour", "soapbox"),
    *("blackswan", "bmx-trees", "kite-surf", "car-shadow", "breakdance"),
    *("dance-twirl", "scooter-black", "drift-chicane", "motocross-jump"),
    *("horsejump-high", "drift-straight", "car-roundabout", "paragliding-launch"),
)


def sequences(
    root: pathlib.Path | str, split: Split = "val", year: Year = 2016
) -> tuple[str, ...]:
    """The names of the sequences of a split, as ImageSets lists them.

    Without that list there is one for DAVIS 2016: `VAL_2016`, and the rest; trainval is
    both.

    Raises:
      UsageError: no such root, no list of the split, or sequences that are not there.
    """
    root = pathlib.Path(root)
    frames = _sized_folder(root / "JPEGImages")
    there = annotated.subfolders(frames)
    if split == "all":
        return there
    listed = root / "ImageSets" / str(year) / f"{split}.txt"
    places = [listed]
    if year == 2016:
        places += [root / "ImageSets" / size / f"{split}.txt" for size in SIZES]
    for path in places:
        if path.is_file():
            return annotated.chosen(frames, there, _listed(path))
    if split == "trainval":
        both = sequences(root, "train", year), sequences(root, "val", year)
        return tuple(dict.fromkeys(both[0] + both[1]))
    if year != 2016 or split not in ("train", "val"):
        raise UsageError(f"{listed}: no such file; expected a sequence a line")
    if split == "val":
        return annotated.chosen(frames, there, VAL_2016)
    return tuple(name for name in there if name not in VAL_2016)


def read_clip(
    root: pathlib.Path | str,
    sequence: str,
    *,
    year: Year = 2016,
    size: str = "",
    unsupervised: bool = False,
) -> Clip:
    """Reads a sequence: frames, and the annotations as truth.

    Args:
      year: 2016 makes one foreground, label 1, of all objects; 2017 keeps their ids
        (255 = void).
      size: Of `SIZES`; "" = the first one that is there.
      unsupervised: Of 2017, the annotations of all that moves.

    Raises:
      UsageError: there is no such sequence, or annotations that are of no frame.
    """
    root = pathlib.Path(root)
    frames = _sized_folder(root / "JPEGImages", size)
    folder = annotated.sequence_folder(frames, sequence)
    clip = annotated.frames_clip(folder, sequence, FPS)
    kind = "Annotations_unsupervised" if unsupervised else "Annotations"
    masks = root / kind / frames.relative_to(root / "JPEGImages") / sequence
    read = images.read_foreground if year == 2016 else images.read_labels
    return annotated.with_annotations(clip, masks, read)


def _sized_folder(folder: pathlib.Path, size: str = "") -> pathlib.Path:
    """That with the sequences: of a size, or the folder itself.

    Raises:
      UsageError: no such folder.
    """
    for name in (size,) if size else SIZES:
        if (folder / name).is_dir():
            return folder / name
    if size or not folder.is_dir():
        raise UsageError(f"{folder / size}: no such folder")
    return folder


def _listed(path: pathlib.Path) -> tuple[str, ...]:
    """The sequences of a list: names, or the files of their frames.

    Raises:
      UsageError: no text, empty, or a line of another form.
    """
    try:
        lines = arrays.read_bytes(path).decode().split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: no text") from None
    names, problems = [], []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        parts = pathlib.PurePosixPath(words[0]).parts
        if len(parts) == 1:
            names.append(parts[0])
        elif "JPEGImages" in parts and len(parts) > 2:
            names.append(parts[-2])
        else:
            problems.append(f"{path}, line {number}: {line!r:.60} is no sequence")
    if not names and not problems:
        problems = [f"{path}: empty; expected a sequence a line"]
    if problems:
        raise UsageError.from_problems(problems)
    return tuple(dict.fromkeys(names))
