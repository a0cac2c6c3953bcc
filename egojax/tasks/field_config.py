"""The config of the decomposition job: what is allowed, its clips, its training.

See `configs/decomposition.py` for what the fields mean.
"""

import contextlib
import math
import operator
import pathlib
from typing import Any, get_args

import numpy as np

from egojax.data import motion_masks, motion_runs, resizing, views
from egojax.data.world.imperfect import PRESETS
from egojax.errors import FrameError, UsageError
from egojax.methods import field_batches
from egojax.methods.field_scene import FieldScene
from egojax.models.nerf import Kind
from egojax.ops import scene_bounds
from egojax.ops.grids import KINDS
from egojax.ops.render import LastShare, Mixing
from egojax.tasks import clips, epic_benchmark, settings
from egojax.tasks.field_models import TABLES
from egojax.train.optim import Group, OptimConfig
from egojax.types import Clip

MEGABYTE = 1e6
RENDERED = {"all": views.SPLITS, "held_out": ("val", "test"), "test": ("test",)}
CHOICES = {
    "data.name": clips.READERS,
    "world.faults": PRESETS,
    "world.scene": ("kitchen", *clips.SCENES),
    "views.slots": get_args(scene_bounds.Slots),
    "fields.kind": ("grid", *get_args(Kind)),
    "grid.kind": KINDS,
    "grid.planes.dtype": ("float32", "bfloat16"),
    "nerf.mixing": get_args(Mixing),
    "nerf.last": get_args(LastShare),
    "nerf.dtype": ("float32", "bfloat16"),
    "train.optimizer": ("adam", "sgd"),
    "train.schedule": ("cosine", "epochs"),
    "render.frames": tuple(RENDERED),
}
LEAST = {
    **{f"data.{name}": 1 for name in ("stride", "repeat", "scale")},
    "data.max_frames": 0,
    "data.fps": 1e-3,
    "world.num_frames": 0,
    "views.split_nth": 0,
    "views.num_slots": 1,
    **{f"views.{name}": 1e-9 for name in ("near", "far")},
    "views.near_floor": 0,
    **{
        f"grid.{table}.{name}": least
        for table in TABLES
        for name, least in dict(levels=1, coarsest=1, finest=1, log2_rows=4).items()
    },
    **{
        f"grid.planes.{table}.{name}": 1
        for table in TABLES
        for name in ("volume", "levels", "coarsest", "finest")
    },
    **{f"grid.planes.{name}": 1 for name in ("features", "actor_volume")},
    "grid.planes.chunk_mb": 1e-3,
    **{f"grid.{name}": 1 for name in ("width", "time_dim", "actor_levels")},
    **{f"grid.{name}": 2 for name in ("actor_cells", "actor_log2_rows")},
    "grid.actor_frames": 0.5,
    **{f"grid.{name}": 0 for name in ("time_basis", "appearance_dim")},
    "grid.calm": 1e-6,
    **{f"grid.{name}": 0 for name in ("direction_bands", "actor_bands")},
    **{f"grid.{name}": 1 for name in ("num_proposal", "num_final")},
    "grid.floor": 0,
    "grid.bend": 1e-6,
    **{f"nerf.{name}": 0 for name in ("N_emb_xyz", "N_emb_dir", "perturb", "N_a")},
    **{f"nerf.{name}": 2 for name in ("N_samples", "N_importance", "model_width")},
    **{f"nerf.{name}": 1 for name in ("N_tau", "lowpass_K")},
    "nerf.N_vocab": 2,
    "nerf.noise_std": 0,
    **{f"loss.{name}": 0 for name in ("beta", "beta_min", "density", "distortion")},
    **{f"loss.{name}": 0 for name in ("motion", "rest")},
    **{f"cameras.{name}": 0 for name in ("rate", "penalty", "align_steps")},
    **{f"train.{name}": 1 for name in ("steps", "batch_size", "block", "log_every")},
    **{f"train.{name}": 1 for name in ("checkpoint_every", "pieces")},
    **{f"train.{name}": 0 for name in ("epochs", "final_share", "weight_decay")},
    "train.ratio": 1e-9,
    **{f"train.{name}": 1e-12 for name in ("learning_rate", "grid_rate")},
    **{f"train.{name}": 0 for name in ("host_images", "evaluate_every")},
    **{f"read.{name}": 0 for name in ("ahead", "device_images")},
    "render.max_frames": 0,
    "render.fixed": -1,
    "render.chunk": 1,
}
MOST = {
    "views.near_floor": 1,
    **{f"grid.{table}.log2_rows": 24 for table in TABLES},
    **{f"grid.{table}.levels": 32 for table in TABLES},
    **{f"grid.{table}.finest": 1 << 20 for table in TABLES},
    **{f"grid.planes.{table}.volume": 128 for table in TABLES},
    **{f"grid.planes.{table}.finest": 4096 for table in TABLES},
    **{f"grid.planes.{name}": 64 for name in ("features", "actor_volume")},
    **{f"grid.{name}": 4096 for name in ("width", "actor_cells")},
    **{f"grid.{name}": 1024 for name in ("time_dim", "time_basis", "appearance_dim")},
    **{f"grid.{name}": 32 for name in ("direction_bands", "actor_bands")},
    **{f"grid.{name}": 4096 for name in ("num_proposal", "num_final")},
    "grid.actor_levels": 32,
    "grid.actor_log2_rows": 24,
    "grid.floor": 1000,
    **{f"nerf.{name}": 32 for name in ("N_emb_xyz", "N_emb_dir")},
    **{f"nerf.{name}": 4096 for name in ("N_samples", "N_importance")},
    **{f"nerf.{name}": 4096 for name in ("model_width", "N_a", "N_tau")},
    "nerf.lowpass_K": 63,
    "nerf.N_vocab": 10_000_000,
    "nerf.perturb": 1,
    **{f"train.{name}": 1 for name in ("final_share", "ratio")},
    **{f"train.{name}": 100_000 for name in ("epochs", "block")},
    **{f"train.{name}": 100_000_000 for name in ("steps", "batch_size")},
    "render.chunk": 100_000_000,
}
LEAST_SIDE = 4  # Pixels.
BASES = ("nerf.lowpass_K", "grid.time_basis")  # Functions of time; 0 = by the clip.
FIRST_ORDER = ("pinhole", "opencv")  # Lenses that the published rays undo.
PATHS = (
    *("data.root", "data.motion", "world.camera_path"),
    *("train.weights", "eval.benchmark"),
)


def check(config: Any) -> None:
    """Refuses what the job does not understand.

    Raises:
      UsageError: a line for each field.
    """
    settings.check(config, CHOICES, LEAST, MOST)
    problems = [
        f"config.{name}={count}: expected an odd one, a constant and waves in pairs"
        for name in BASES
        if (count := operator.attrgetter(name)(config)) and not count % 2
    ]
    if not config.loss.beta and not config.loss.beta_min:
        problems.append("config.loss.beta=0.0: needs a config.loss.beta_min above 0")
    if config.data.name == "epic_diff":
        problems += [
            f"config.views.{name}: scenes of epic_diff have bounds of their own"
            for name in ("near", "far")
            if config.views[name] is not None
        ]
    if config.fields.kind != "grid":
        problems += _published_problems(config)
    if problems:
        raise UsageError.from_problems(problems)


def _published_problems(config: Any) -> list[str]:
    """What the published networks do not have."""
    kind = config.fields.kind
    problems = [
        f"config.{name}: of config.fields.kind=grid alone, not {kind}"
        for name in ("cameras.refine", "cameras.exposure", "data.motion")
        if operator.attrgetter(name)(config)
    ]
    if config.loss.beta != 1:
        problems.append(f"config.loss.beta: 1 for config.fields.kind={kind}")
    if config.render.suppress_actor and kind != "neuraldiff":
        problems.append(
            f"config.render.suppress_actor: config.fields.kind={kind} has no actor"
        )
    if config.nerf.model_width % 2:
        problems.append(
            f"config.nerf.model_width={config.nerf.model_width}: expected an even one"
        )
    return problems


# ------------------------------------------------------------------------------- clips


def prepared(config: Any, clip: Clip) -> Clip:
    """Nothing is done to a clip before it is cut."""
    del config
    return clip


def settled(config: Any, clip: Clip) -> Clip:
    """The clip at its size for training, with views; split as the benchmark says."""
    _check_clip(config, clip)
    fields_of = config.views
    if config.data.motion:
        clip = motion_masks.with_motion(clip, _motion_folder(config, clip))
    size = resizing.scale_size(clip.size_hw, config.data.scale)
    if min(size) < LEAST_SIDE:
        raise UsageError(
            f"config.data.scale={config.data.scale}: images of {clip.name} would be "
            f"{size[0]} x {size[1]}; expected {LEAST_SIDE} or more"
        )
    clip, split = resizing.resized(clip, size), None
    if config.eval.benchmark:
        found = epic_benchmark.read(config.eval.benchmark, clip)
        clip, split = clip.replace(notes=(*clip.notes, *found.notes)), found.split
        if clip.views is not None:
            clip = epic_benchmark.with_split(clip, split)
    clip = views.with_views(
        clip,
        fields_of.split_nth,
        clips.num_slots(config),
        slots=fields_of.slots,
        near=fields_of.near,
        far=fields_of.far,
        near_floor=fields_of.near_floor,
        split=split,
    )
    _check_rendered(config, clip)
    return clip


def _motion_folder(config: Any, clip: Clip) -> pathlib.Path:
    """Where the masks of a clip are: a folder of them, or a run that has found them."""
    path = pathlib.Path(config.data.motion.replace("{clip}", clip.name))
    if not motion_runs.is_run(path):
        return path
    drawn = config.world if config.data.name == "world" else None
    return motion_runs.label_folder(clip, path, drawn)


def _check_clip(config: Any, clip: Clip) -> None:
    """Refuses what would be found out after training only."""
    wanted = config.render.fixed_frame
    if wanted is not None and wanted not in clip.frame_ids:
        raise UsageError(
            f"{clip.name}: config.render.fixed_frame={wanted}: no such frame; the "
            f"first is {clip.frame_ids[0]}"
        )


def _check_rendered(config: Any, clip: Clip) -> None:
    """Refuses a clip of which nothing would be rendered."""
    wanted = RENDERED[config.render.frames]
    assert clip.views is not None
    for t in range(clip.num_frames):
        with contextlib.suppress(FrameError):
            view = clip.views[t]
            if view is not None and view.split in wanted:
                return
    raise UsageError(
        f"{clip.name}: config.render.frames={config.render.frames}: none of "
        f"{clip.num_frames} frames is in {' or '.join(wanted)}"
    )


def check_lens(config: Any, scene: FieldScene) -> None:
    """Refuses a lens that the published rays would take for another.

    Raises:
      UsageError: it is neither `FIRST_ORDER` one.
    """
    lens = scene.camera.lens
    is_first_order = config.fields.kind != "grid" and config.nerf.official_rays
    if is_first_order and lens not in FIRST_ORDER:
        raise UsageError(
            f"the lens is {lens}, the published rays are of "
            f"{' and '.join(FIRST_ORDER)} alone; set config.nerf.official_rays=False"
        )


# ---------------------------------------------------------------------------- training


def num_steps(config: Any, num_rays: int) -> int:
    """Steps of training on so many rays.

    Differs: of an epoch that is cut short (`ratio`) the next one sees what is left.
    """
    if not config.train.epochs:
        return config.train.steps
    of_epoch = -(-num_rays // config.train.batch_size)
    return config.train.epochs * max(1, int(config.train.ratio * of_epoch))


def page_frames(config: Any, clip: Clip) -> int | None:
    """Frames whose images are in memory at a time; None = all are."""
    most = MEGABYTE * config.train.host_images
    frame = (3 + ("motion" in clip.streams)) * math.prod(clip.size_hw)  # Bytes.
    if clip.num_frames * frame <= most:
        return None
    return max(1, int(most // frame))


def host_layers(config: Any, scene: FieldScene) -> dict[str, np.ndarray]:
    """Layers with pixels that the devices are not to hold: all or none."""
    layers = field_batches.pixel_layers(scene)
    size = sum(layer.nbytes for layer in layers.values())
    return layers if size > MEGABYTE * config.read.device_images else {}


def optimizer(config: Any, steps: int) -> OptimConfig:
    """How weights move."""
    train = config.train
    share, pieces = train.final_share, 0
    if train.schedule == "epochs":  # Down to 1e-8, in as many pieces as epochs.
        share, pieces = 1e-8 / train.learning_rate, train.epochs or 10
    groups = ()
    if config.fields.kind == "grid":
        groups = (Group("_table$", train.grid_rate, eps=1e-15),)
        if config.cameras.refine:
            groups += (Group("^poses", config.cameras.rate),)
    return OptimConfig(
        name=train.optimizer,
        learning_rate=train.learning_rate,
        decay_steps=steps,
        final_share=share,
        decay_pieces=pieces,
        groups=groups,
        weight_decay=train.weight_decay,
    )


def placing_optimizer(config: Any) -> OptimConfig:
    """How the poses of frames that were held out are found."""
    return OptimConfig(
        learning_rate=config.train.learning_rate * config.cameras.rate,
        decay_steps=config.cameras.align_steps,
        final_share=config.train.final_share,
    )


def weights_path(config: Any, clip: Clip) -> pathlib.Path | None:
    """The file of weights that is to be used instead of training."""
    if not config.train.weights:
        return None
    return pathlib.Path(config.train.weights.replace("{clip}", clip.name))
