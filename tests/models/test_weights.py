import jax
import numpy as np
import pytest
from flax import nnx

from egojax.errors import UsageError
from egojax.models import weights
from egojax.models.grid_fields import GridConfig, GridFields
from egojax.models.nerf import Nerf, NerfConfig
from egojax.ops.hash_grid import HashGrid

GRID = HashGrid(2, 4, 8, 8)
SMALL = GridConfig(GRID, GRID, GRID, width=8, num_slots=4, time_basis=3)
INITS = {
    "grid": lambda key: GridFields(SMALL, rngs=nnx.Rngs(key)),
    "nerf": lambda key: Nerf(NerfConfig(width=8, num_slots=4), rngs=nnx.Rngs(key)),
}


@pytest.mark.parametrize("kind", list(INITS))
def test_weights_come_back_as_they_went_out(kind):
    model = INITS[kind](jax.random.key(3))
    named = weights.named_weights(model)
    again = weights.with_weights(INITS[kind], named, "here")
    leaves = [jax.tree.leaves(nnx.state(m, nnx.Param)) for m in (model, again)]
    assert len(leaves[0]) == len(named) > 10
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.config == model.config


def test_weights_of_another_network_are_told_one_by_one():
    named = weights.named_weights(INITS["nerf"](jax.random.key(0)))
    named.pop("time")
    named["more"] = np.zeros(3)
    named["appearance"] = named["appearance"][:2]
    with pytest.raises(UsageError) as found:
        weights.with_weights(INITS["nerf"], named, "a.npz")
    assert str(found.value).splitlines() == [
        "a.npz: appearance is (2, 48); the network's is (4, 48)",
        "a.npz: more is (3,); the network's is not there",
        "a.npz: time is not there; the network's is (21, 17)",
    ]
