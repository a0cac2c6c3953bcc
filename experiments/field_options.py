"""What the options of radiance fields are worth, on clips that are imperfect.

  python experiments/field_options.py --seeds=0-1 [--out=runs/field_options]

Each row is an option, each column a fault of the clip; the config is that of
configs/decomposition.py:bench otherwise, with all of its steps. Scores are of held-out
frames. Runs that are in the folder are not done again.

Motion masks are those of what moves at the moment, the arm included, as a job that
finds moving things would give them: their outlines are two pixels too wide, and a third
of the frames has none.
"""

import argparse
import pathlib
import sys
from typing import Any

import cv2
import field_quality
import numpy as np

from egojax.data import arrays, images
from egojax.methods import field_scene
from egojax.metrics import format_table
from egojax.metrics.schema import mean_of_results
from egojax.tasks import clips, field_config
from egojax.types import Clip

COLUMNS = ("psnr", "psnr_static", "mAP", "mAP_moving", "mAP_actor")
OUTLINE = np.ones((5, 5), np.uint8)  # Two pixels more on each side.
# The fields of an option, and the faults that it is tried on.
OPTIONS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "defaults": ({}, ("none", "poses", "exposure", "lighting")),
    "poses refined": ({"cameras.refine": True}, ("none", "poses")),
    "exposure learned": (
        {"cameras.exposure": True},
        ("none", "exposure", "lighting"),
    ),
    "motion masks": ({"data.motion": "masks/{clip}"}, ("none",)),
    "no appearance code": (
        {"grid.appearance_dim": 0},
        ("none", "exposure", "lighting"),
    ),
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0-1")
    parser.add_argument("--out", default="runs/field_options")
    arguments = parser.parse_args(argv)
    folder = pathlib.Path(arguments.out)
    arrays.make_folder(folder)
    rows = {}
    for option, (fields, faults) in OPTIONS.items():
        for fault in faults:
            config = field_quality.make_config("grid", np.inf)
            config.data.clips, config.world.faults = arguments.seeds, fault
            config.update_from_flattened_dict(fields)
            if config.data.motion:
                config.data.motion = str(folder / config.data.motion)
            found = [_run(folder, option, config, name) for name in _names(config)]
            rows[f"{option}, {fault}"] = mean_of_results(found)
    columns = (*COLUMNS, "cpu_seconds")
    print(format_table(rows, columns, corner="option, fault"))
    return 0


def _names(config: Any) -> list[str]:
    return list(clips.make(config, field_config.prepared, field_config.settled))


def _run(folder: pathlib.Path, option: str, config: Any, name: str) -> dict[str, Any]:
    """The numbers of a clip; found, or learned and kept."""
    path = folder / f"{option}-{config.world.faults}-{name}.json".replace(" ", "_")
    if not path.exists():
        if config.data.motion:
            _write_masks(config, name)
        opened = clips.make(config, field_config.prepared, field_config.settled)
        clip = opened[name]()
        frames = field_scene.read_scene(clip)
        numbers = field_quality.learn(config, clip, frames, np.inf)
        arrays.write_json(path, numbers)
        told = {k: round(float(numbers[k]), 3) for k in (*COLUMNS, "cpu_seconds")}
        print(f"{option}, {config.world.faults}, {name}: {told}", flush=True)
    return arrays.read_json(path)


def _write_masks(config: Any, name: str) -> None:
    """Masks of what moves in the frames of a clip, with their faults."""
    folder = pathlib.Path(config.data.motion.replace("{clip}", name))
    opened = clips.make(config, field_config.prepared, lambda config, clip: clip)
    clip = opened[name]()
    arrays.make_folder(folder)
    rng = np.random.default_rng(0)
    for t, frame in enumerate(clip.frame_ids):
        mask = cv2.dilate(_moving(clip, t).astype(np.uint8), OUTLINE)
        if rng.random() < 2 / 3:
            images.write_labels(folder / f"{frame}.png", mask.astype(np.int32))


def _moving(clip: Clip, t: int) -> np.ndarray:
    """What moves at the moment, bool (H, W)."""
    truth = clip.truth
    assert truth is not None and truth.objects is not None
    assert truth.labels is not None and truth.actor is not None
    found = truth.objects[t]
    moves = found.ids[found.motion == 2]
    return np.isin(truth.labels[t], moves) | truth.actor[t]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
