"""The radiance fields that a config and a scene ask for, or a file describes.

See `configs/decomposition.py` for what the fields of a config mean.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from egojax.errors import UsageError
from egojax.methods import field_learning, fields
from egojax.methods.field_scene import FieldScene
from egojax.methods.fields import Fields
from egojax.methods.grid_rendering import GridSettings, SceneBox
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.grid_fields import GridConfig
from egojax.models.nerf import NerfConfig
from egojax.ops.grids import KINDS, Grid
from egojax.ops.hash_grid import HashGrid
from egojax.ops.plane_grid import PlaneGrid

ACTOR_SPAN = 8  # How much finer the finest level of the actor's grid is.
TABLES = ("static", "moving", "proposal")


def describe(config: Any, scene: FieldScene) -> dict[str, Any]:
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


def build(config: Any, about: Mapping[str, Any]) -> Fields:
    """The fields that `describe` or `fields.npz` describes.

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
            _box(about["box"]),
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


def _box(about: Mapping[str, Any]) -> SceneBox:
    box = SceneBox(**{k: jnp.asarray(v, jnp.float32) for k, v in about.items()})
    shapes = [leaf.shape for leaf in (box.center, box.radius, box.unit)]
    numbers = np.concatenate([np.ravel(leaf) for leaf in vars(box).values()])
    if shapes != [(3,), (), ()] or not np.isfinite(numbers).all():
        raise ValueError(f"a box of {dict(about)}")
    return box


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
