"""Folders of frames in which a textured disk moves over a texture that pans.

And the motion segmentation job on such a folder.
"""

import pathlib

import cv2
import numpy as np

from egojax.apps import cli
from egojax.data import images

SIZE = (96, 144)
RADIUS = 20
SMALL = [
    "--config.tracks.stride=4",
    "--config.group.lengths=(9,5)",
    "--config.group.least_motion=1.0",
]


def texture(seed: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Coloured noise of some pixels' length, uint8 (H, W, 3)."""
    noise = np.random.default_rng(seed).normal(0, 1, (*size_hw, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(128 + 160 * smooth, 0, 255).astype(np.uint8)


def frame(t: int, still: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Frame t and its true labels; if `still`, the disk pans with the rest."""
    back = texture(0, (SIZE[0] + 60, SIZE[1] + 120))
    front = texture(1, (SIZE[0] + 60, SIZE[1] + 120)) // 2 + 100
    pan = t
    image = back[10 : 10 + SIZE[0], 10 + pan : 10 + pan + SIZE[1]].copy()
    x, y = (70 - pan, 50) if still else (40 + 2 * t, 35 + t)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = (columns - x) ** 2 + (rows - y) ** 2 < RADIUS**2
    at = rows - y + 60, columns - x + 60
    image[inside] = front[at[0][inside].clip(0), at[1][inside].clip(0)]
    return image, inside.astype(np.int32)


def write_clip(
    folder: pathlib.Path, count: int = 16, *, still: bool = False, truth: bool = True
) -> pathlib.Path:
    """Writes frames/ and, as truth, truth/labels/; returns the folder."""
    (folder / "frames").mkdir(parents=True)
    (folder / "truth" / "labels").mkdir(parents=True) if truth else None
    for t in range(count):
        image, labels = frame(t, still)
        images.write_image(folder / "frames" / f"{t:05d}.png", image)
        if truth:
            images.write_labels(folder / "truth" / "labels" / f"{t:05d}.png", labels)
    return folder


def launch(root: pathlib.Path, workdir: pathlib.Path, *words: str) -> int:
    """Runs the job from the checkout, with settings for so small a clip."""
    return cli.main(
        [
            "launch.py",
            "--config=configs/motion_seg.py:folder",
            f"--config.data.root={root}",
            f"--workdir={workdir}",
            *SMALL,
            *words,
        ]
    )
