"""Run folders as the motion segmentation job leaves them, as far as others look."""

import pathlib
from collections.abc import Mapping

import numpy as np

from egojax.data import arrays, images
from egojax.data.runs import ClipFolder

GLIDING = {"scene": "gliding", "num_frames": 80, "camera_path": None}


def write_run(
    root: pathlib.Path, clip: str, labels: Mapping[str, np.ndarray], **about
) -> pathlib.Path:
    """A finished run on one clip; returns its folder.

    Args:
      labels: By frame.
      about: Parts of the config that are not as of a gliding clip.
    """
    config = {"job": "motion_seg", "data": {"name": "world"}, "world": GLIDING, **about}
    folder = ClipFolder(root / "clips" / clip)
    (folder.path / "labels").mkdir(parents=True)
    arrays.write_json(root / "config.json", {"config": config})
    for name, image in labels.items():
        images.write_labels(folder.path / "labels" / f"{name}.png", image)
    folder.mark("masks", seconds=1.0)
    return root
