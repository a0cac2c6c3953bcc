"""SegTrack v2, as released or as converted for LRTL -> Clip.

    ROOT/JPEGImages/SEQ/NAME.png            or .jpg, .bmp
    ROOT/GroundTruth/SEQ/NAME.png           of a sequence with one object
    ROOT/GroundTruth/SEQ/1/NAME.png         of one with several: a folder each
    ROOT/Annotations/SEQ/NAME.png           converted: all objects in one

One foreground, label 1, is made of all objects.

Source: Li et al. 2013; Yang et al. 2021 (motiongrouping), tools/SegTrack_clean.py.
"""

import pathlib

import numpy as np

from egojax.data import annotated
from egojax.types import Clip, Source

FPS = 30.0  # Nobody says.
# The sequences of the published numbers.
SEQUENCES = (
    *("drift", "birdfall", "girl", "cheetah", "worm", "parachute", "monkeydog"),
    *("hummingbird", "soldier", "bmx", "frog", "penguin", "monkey"),
    "bird_of_paradise",
)
TRUTH = ("Annotations", "GroundTruth")  # The first one that is there counts.


def sequences(root: pathlib.Path | str) -> tuple[str, ...]:
    """The names of the sequences.

    Raises:
      UsageError: no such root, or nothing in it.
    """
    return annotated.subfolders(pathlib.Path(root) / "JPEGImages")


def read_clip(root: pathlib.Path | str, sequence: str) -> Clip:
    """Reads a sequence: frames, and the annotations, merged, as truth.

    Raises:
      UsageError: there is no such sequence, or annotations that are of no frame.
    """
    root = pathlib.Path(root)
    folder = annotated.sequence_folder(root / "JPEGImages", sequence)
    clip = annotated.frames_clip(folder, sequence, FPS)
    places = [root / name / sequence for name in TRUTH]
    masks = next((place for place in places if place.is_dir()), places[0])
    if not masks.is_dir() or _has_files(masks):
        return annotated.with_annotations(clip, masks)
    parts = [
        annotated.with_annotations(clip, masks / name)
        for name in annotated.subfolders(masks)
    ]
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    layers = [part.truth.labels for part in parts if part.truth is not None]
    known = [layer for layer in layers if layer is not None]
    return annotated.with_truth(clip, _merged(known), tuple(notes))


def _merged(layers: list[Source[np.ndarray | None]]) -> Source[np.ndarray | None]:
    """One foreground of several; None where no layer has anything."""

    def read(t: int) -> np.ndarray | None:
        found = [layer[t] for layer in layers]
        there = [labels for labels in found if labels is not None]
        return np.maximum.reduce(there) if there else None

    return Source(read, len(layers[0]))


def _has_files(folder: pathlib.Path) -> bool:
    suffixes = {path.suffix.lower() for path in folder.iterdir() if path.is_file()}
    return bool(suffixes & set(annotated.FRAMES))
