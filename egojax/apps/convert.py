"""`--mode=convert`: a scene of COLMAP or EPIC-FIELDS into the layout of NeuralDiff.

Official command: `python -m colmap_converter --colmap_dir DIR --scale 8 --dir_dst OUT
--split_nth 8`. Here `config.convert` has the same words: `colmap_dir` (or `model` and
`images`, where they lie elsewhere), `out`, `scale`, `split_nth`, and `quality`.
"""

import collections
import pathlib
from typing import Any, NamedTuple

from egojax.apps.progress import ProgressLine
from egojax.data.folder_poses import MODELS, find_model
from egojax.data.neuraldiff_convert import ConvertedScene, convert_scene
from egojax.data.views import SPLITS
from egojax.errors import MAX_PROBLEMS, UsageError
from egojax.ops import scene_bounds


class _Paths(NamedTuple):
    model: pathlib.Path
    images: pathlib.Path
    out: pathlib.Path


def main(config: Any) -> int:
    """Converts the scene of `config.convert`; returns the exit code (0 or 3).

    Args:
      config: ConfigDict of a job that has the group `convert`.

    Raises:
      UsageError: no such group, a path is not given, or as `convert_scene`.
    """
    if "convert" not in config:
        raise UsageError(
            f"--mode=convert: the config of {config.job} has no group convert; "
            "configs/decomposition.py has one"
        )
    fields = config.convert
    paths = _paths(fields)
    progress = ProgressLine(f"convert {paths.out.name}")
    scene = convert_scene(
        *paths,
        scale=fields.scale,
        split_nth=fields.split_nth,
        quality=fields.quality,
        progress=progress,
    )
    seconds = progress.close()
    _tell(scene, fields.split_nth, seconds)
    return 3 if scene.skipped else 0


def _paths(fields: Any) -> _Paths:
    """Where the scene is and where it goes; `colmap_dir` stands for what it holds."""
    model, images, whole = fields.model, fields.images, fields.colmap_dir
    problems = []
    if whole and (model or images):
        problems.append(
            "config.convert.colmap_dir: stands for model and images; give it, or them"
        )
    elif whole:
        folder = pathlib.Path(whole)
        model, images = find_model(folder), folder / "images"
        if not model:
            problems.append(
                f"{folder}: no COLMAP model here (images.bin or images.txt) in "
                f"{', '.join(MODELS)}; config.convert.model names one elsewhere"
            )
    elif not model and not images:
        problems.append(
            "config.convert.colmap_dir: give the folder that has sparse/0 and images; "
            "or give model and images"
        )
    elif not model:
        problems.append(
            "config.convert.model: give the folder of a COLMAP model, or an "
            "EPIC-FIELDS JSON"
        )
    elif not images:
        problems.append("config.convert.images: give the folder of its images")
    if not fields.out:
        problems.append("config.convert.out: give the folder to write the scene to")
    if problems:
        raise UsageError.from_problems(problems)
    return _Paths(pathlib.Path(model), pathlib.Path(images), pathlib.Path(fields.out))


def _tell(scene: ConvertedScene, split_nth: int, seconds: float) -> None:
    """What was written; last, what was left out."""
    for note in scene.notes:
        print(f"{scene.folder.name}: {note}")
    split = collections.Counter(scene_bounds.split_frames(scene.num_frames, split_nth))
    parts = ", ".join(f"{split[name]} {name}" for name in SPLITS)
    height, width = scene.size_hw
    print(
        f"{scene.folder / 'meta.json'}: {scene.num_frames} frames of {width} x "
        f"{height} pixels ({parts}), done in {seconds:.1f} s"
    )
    for text in scene.skipped[:MAX_PROBLEMS]:
        print(f"egojax: skipped: {text}")
    if len(scene.skipped) > MAX_PROBLEMS:
        print(f"egojax: skipped: and {len(scene.skipped) - MAX_PROBLEMS} more frames")
