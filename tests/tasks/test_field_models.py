"""The config of fields as sizes of grids, and as what a file of weights says."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from egojax.apps import cli
from egojax.methods.field_scene import FieldScene
from egojax.ops.hash_grid import HashGrid
from egojax.ops.plane_grid import PlaneGrid
from egojax.tasks import field_models
from egojax.types import Camera

FRAMES = 60
KINDS = {"hash": HashGrid, "planes": PlaneGrid}


@pytest.fixture
def config() -> Any:
    return cli.load_config(cli.find_config("configs/decomposition.py")[0], "smoke")


def scene() -> FieldScene:
    """Cameras in a row."""
    w2c = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    w2c[:, 0, 3] = np.linspace(0, 1, FRAMES)
    intrinsics = np.tile(np.diag(np.array([8, 8, 1], np.float32)), (FRAMES, 1, 1))
    order, ends = jnp.arange(FRAMES), jnp.ones(FRAMES)
    images = jnp.zeros((FRAMES, 4, 6, 3), jnp.uint8)
    camera = Camera(jnp.asarray(intrinsics), jnp.asarray(w2c), size_hw=(4, 6))
    return FieldScene(images, camera, 0.1 * ends, 5 * ends, order, order)


def sizes_of(config: Any, about: dict[str, Any]) -> Any:
    fields = field_models.build(config, about)
    model: Any = nnx.eval_shape(lambda: fields.init(jax.random.key(0)))
    return model.config


@pytest.mark.parametrize("kind", KINDS)
def test_grids_of_all_fields_are_of_the_kind_and_come_back_from_a_file(kind, config):
    config.grid.kind = kind
    about = field_models.describe(config, scene())
    sizes = sizes_of(config, json.loads(json.dumps(about)))
    assert about["grid"] == kind and sizes == sizes_of(config, about)
    for name in ("static", "moving", "proposal", "actor"):
        assert type(getattr(sizes, name)) is KINDS[kind]


def test_sizes_of_planes_are_those_of_the_config(config):
    """By hand: two frames a cell are 30 cells along time."""
    config.grid.kind, planes = "planes", config.grid.planes
    planes.static.update(volume=7, levels=2, coarsest=9, finest=21)
    planes.features, planes.dtype, planes.chunk_mb = 3, "bfloat16", 2.0
    config.grid.actor_cells, config.grid.actor_levels = 20, 2
    planes.actor_volume = 4
    sizes = sizes_of(config, field_models.describe(config, scene()))
    assert sizes.static == PlaneGrid(7, 2, 9, 21, 3, 1.0, "bfloat16", 2**21)
    assert sizes.actor == PlaneGrid(4, 2, 2, 20, 3, 1.5, "bfloat16", 2**21)
    assert sizes.actor.sides == (20, 20, 30) == (20, 20, sizes.actor_times)


def test_fields_of_a_file_that_names_no_kind_of_grid_are_hashed(config):
    about = field_models.describe(config, scene())
    old = {k: v for k, v in about.items() if k != "grid"}
    config.grid.kind = "planes"
    assert sizes_of(config, old) == sizes_of(config, about)
    assert isinstance(sizes_of(config, old).static, HashGrid)
