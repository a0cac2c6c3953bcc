"""The config of the decomposition job as settings of methods; clips made ready for it.

See `configs/decomposition.py` for what the fields mean.
"""

import dataclasses
import math
import operator
import pathlib
from collections.abc import Mapping
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np

from egojax.data import motion_masks, resizing, views
from egojax.data.world.imperfect import PRESETS
from egojax.errors import UsageError
from egojax.methods import field_batches, field_learning, fields
from egojax.methods.field_scene import FieldScene
from egojax.methods.fields import Fields
from egojax.methods.grid_rendering import GridSettings, SceneBox
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.grid_fields import GridConfig
from egojax.models.nerf import Kind, NerfConfig
from egojax.ops import scene_bounds
from egojax.ops.grids import KINDS, Grid
from egojax.ops.hash_grid import HashGrid
from egojax.ops.plane_grid import PlaneGrid
from egojax.ops.render import LastShare, Mixing
from egojax.tasks import clips, epic_benchmark, settings
from egojax.train.optim import Group, OptimConfig
from egojax.types import Clip

MEGABYTE = 1e6
ACTOR_SPAN = 8  # How much finer the finest level of the actor's grid is.
TABLES = ("static", "moving", "proposal")
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
    "render.frames": ("all", "held_out", "test"),
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
    "grid.time_basis": 0,
    "grid.calm": 1e-6,
    **{f"grid.{name}": 0 for name in ("direction_bands", "actor_bands")},
    **{f"grid.{name}": 1 for name in ("num_proposal", "num_final")},
    "grid.floor": 0,
    "grid.bend": 1e-6,
    **{f"nerf.{name}": 0 for name in ("N_emb_xyz", "N_emb_dir", "perturb", "N_a")},
    **{f"nerf.{name}": 2 for name in ("N_samples", "N_importance", "model_width")},
    **{f"nerf.{name}": 1 for name in ("N_vocab", "N_tau", "lowpass_K")},
    "nerf.noise_std": 0,
    **{f"loss.{name}": 0 for name in ("beta_min", "density", "distortion")},
    **{f"loss.{name}": 0 for name in ("motion", "rest")},
    **{f"cameras.{name}": 0 for name in ("rate", "penalty", "align_steps")},
    **{f"train.{name}": 1 for name in ("steps", "batch_size", "block", "log_every")},
    **{f"train.{name}": 1 for name in ("checkpoint_every", "pieces")},
    **{f"train.{name}": 0 for name in ("epochs", "final_share")},
    **{f"train.{name}": 1e-12 for name in ("learning_rate", "grid_rate")},
    "train.host_images": 0,
    "read.device_images": 0,
    "render.max_frames": 0,
    "render.fixed": -1,
    "render.chunk": 1,
}
MOST = {
    "views.near_floor": 1,
    **{f"grid.{table}.log2_rows": 24 for table in TABLES},
    **{f"grid.planes.{table}.volume": 128 for table in TABLES},
    **{f"grid.planes.{table}.finest": 4096 for table in TABLES},
    "grid.floor": 1000,
    "train.final_share": 1,
}
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
    if config.fields.kind == "grid":
        return
    only = ("cameras.refine", "cameras.exposure", "data.motion")
    problems = [
        f"config.{name}: of config.fields.kind=grid alone, not {config.fields.kind}"
        for name in only
        if operator.attrgetter(name)(config)
    ]
    if config.nerf.model_width % 2:
        problems.append(
            f"config.nerf.model_width={config.nerf.model_width}: expected an even one"
        )
    if problems:
        raise UsageError.from_problems(problems)


# ------------------------------------------------------------------------------- clips


def prepared(config: Any, clip: Clip) -> Clip:
    """Nothing is done to a clip before it is cut."""
    del config
    return clip


def settled(config: Any, clip: Clip) -> Clip:
    """The clip at its size for training, with views; split as the benchmark says."""
    fields_of = config.views
    if config.data.motion:
        where = config.data.motion.replace("{clip}", clip.name)
        clip = motion_masks.with_motion(clip, where)
    size = resizing.scale_size(clip.size_hw, config.data.scale)
    num_slots = fields_of.num_slots
    if num_slots is None and config.fields.kind != "grid":
        num_slots = config.nerf.N_vocab
    clip, split = resizing.resized(clip, size), None
    if config.eval.benchmark:
        found = epic_benchmark.read(config.eval.benchmark, clip)
        clip, split = clip.replace(notes=(*clip.notes, *found.notes)), found.split
        if clip.views is not None:
            return epic_benchmark.with_split(clip, split)
    return views.with_views(
        clip,
        fields_of.split_nth,
        num_slots,
        slots=fields_of.slots,
        near=fields_of.near,
        far=fields_of.far,
        near_floor=fields_of.near_floor,
        split=split,
    )


# ------------------------------------------------------------------------------ fields


def about_fields(config: Any, scene: FieldScene) -> dict[str, Any]:
    """What fields of a scene are, as `fields.npz` keeps it: kind and sizes."""
    if config.fields.kind != "grid":
        sizes = dataclasses.asdict(_nerf_sizes(config))
        return {"kind": config.fields.kind, "sizes": sizes}
    num_slots = max(2, _last_slot(scene) + 1)
    box = field_learning.scene_box(scene)
    return {
        "kind": "grid",
        "grid": config.grid.kind,
        "sizes": dataclasses.asdict(_grid_sizes(config, num_slots, len(scene.slots))),
        "box": {k: np.asarray(v).tolist() for k, v in vars(box).items()},
    }


def check_slots(about: Mapping[str, Any], scene: FieldScene) -> None:
    """Refuses fields that have no codes for the times of a scene.

    Raises:
      UsageError: a frame's slot is beyond the tables.
    """
    last, count = _last_slot(scene), about["sizes"]["num_slots"]
    if last >= count:
        raise UsageError(
            f"frames have slots up to {last}, the fields have codes for {count}; set "
            "config.views.num_slots to that, or config.nerf.N_vocab to more to train"
        )


def _last_slot(scene: FieldScene) -> int:
    return int(max(np.max(scene.slots), np.max(scene.looks)))


def _grid_sizes(config: Any, num_slots: int, num_frames: int) -> GridConfig:
    fields_of = config.grid
    times = max(2, round(num_frames / fields_of.actor_frames))
    return GridConfig(
        **_grids(fields_of, times),
        actor_times=times,
        num_slots=num_slots,
        time_basis=fields_of.time_basis or _basis(num_frames),
        exposure=config.cameras.exposure,
        poses=config.cameras.refine,
        **{
            name: fields_of[name]
            for name in (
                *("width", "direction_bands", "actor_bands", "appearance_dim"),
                *("time_dim", "density_bias", "changing_bias", "actor_cells"),
            )
        },
    )


def _grids(fields_of: Any, times: int) -> dict[str, Any]:
    """The grids of positions; the actor's has so many cells along time."""
    cells, levels = fields_of.actor_cells, fields_of.actor_levels
    if fields_of.kind == "hash":
        grids = {k: HashGrid(**fields_of[k].to_dict()) for k in TABLES}
        finest = max(times, cells)
        coarsest, log2_rows = max(2, finest // ACTOR_SPAN), fields_of.actor_log2_rows
        return grids | {"actor": HashGrid(levels, coarsest, finest, log2_rows)}
    planes = fields_of.planes
    shared: dict[str, Any] = {k: planes[k] for k in ("features", "dtype")}
    shared["chunk_bytes"] = int(planes.chunk_mb * 2**20)
    grids = {k: PlaneGrid(**planes[k].to_dict(), **shared) for k in TABLES}
    coarsest, along_z = max(2, cells // ACTOR_SPAN), times / cells
    actor = PlaneGrid(
        planes.actor_volume, levels, coarsest, cells, along_z=along_z, **shared
    )
    return grids | {"actor": actor}


def _basis(num_frames: int) -> int:
    """Functions of time, the fastest of which takes some four frames for a turn.

    Faster ones tell frames apart that were seen, and say nothing of those between.
    """
    bands = max(0, math.floor(math.log2(max(1.0, math.pi * num_frames / 4))))
    return 1 + 2 * (bands + 1)


def _nerf_sizes(config: Any) -> NerfConfig:
    nerf = config.nerf
    return NerfConfig(
        kind=config.fields.kind,
        width=nerf.model_width,
        position_bands=nerf.N_emb_xyz,
        direction_bands=nerf.N_emb_dir,
        num_slots=nerf.N_vocab,
        appearance_dim=nerf.N_a,
        time_dim=nerf.N_tau,
        time_basis=nerf.lowpass_K,
        dtype=nerf.dtype,
    )


def make_fields(config: Any, about: Mapping[str, Any]) -> Fields:
    """The fields that `about_fields` or `fields.npz` describes.

    Raises:
      UsageError: they are of another kind than the config's.
    """
    kind, loss = about.get("kind"), config.loss
    if kind != config.fields.kind:
        raise UsageError(
            f"the weights are of kind {kind}, config.fields.kind is "
            f"{config.fields.kind}; set it to {kind}"
        )
    if kind == "grid":
        return fields.grid_fields(
            _grid_config(about["sizes"], KINDS[about.get("grid", "hash")]),
            _grid_settings(config),
            SceneBox(
                **{k: jnp.asarray(v, jnp.float32) for k, v in about["box"].items()}
            ),
            field_learning.GridLoss(
                density=loss.density,
                distortion=loss.distortion,
                motion=loss.motion,
                rest=loss.rest,
                poses=config.cameras.penalty,
            ),
        )
    nerf = config.nerf
    render = RenderSettings(
        num_coarse=nerf.N_samples,
        num_fine=nerf.N_importance,
        perturb=nerf.perturb,
        noise_std=nerf.noise_std,
        far_wall=loss.far_wall,
        beta_min=loss.beta_min,
        mixing=nerf.mixing,
        last=nerf.last,
    )
    return fields.nerf_fields(
        NerfConfig(**about["sizes"]),
        render,
        official=nerf.official_rays,
        density=loss.density,
    )


def _grid_config(sizes: Mapping[str, Any], kind: type[Grid]) -> GridConfig:
    plain = dict(sizes)
    for name in (*TABLES, "actor"):
        plain[name] = kind(**sizes[name])
    return GridConfig(**plain)


def _grid_settings(config: Any) -> GridSettings:
    grid = config.grid
    return GridSettings(
        num_proposal=grid.num_proposal,
        num_final=grid.num_final,
        floor=grid.floor,
        calm=grid.calm,
        bend=grid.bend,
        beta=config.loss.beta,
        beta_min=config.loss.beta_min,
        far_wall=config.loss.far_wall,
    )


# ---------------------------------------------------------------------------- training


def num_steps(config: Any, num_rays: int) -> int:
    """Steps of training on so many rays."""
    if not config.train.epochs:
        return config.train.steps
    return config.train.epochs * -(-num_rays // config.train.batch_size)


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
