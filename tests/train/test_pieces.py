"""A batch cut into pieces takes the step that the whole batch takes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from egojax.errors import UsageError
from egojax.metrics import Mean
from egojax.task import Block
from egojax.train.mesh import make_mesh, put_block
from egojax.train.step import make_plan, make_train_step, start

TX = optax.sgd(0.1, momentum=0.9)


class Net(nnx.Module):
    """A layer, and how many rows it has seen."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.layer = nnx.Linear(3, 2, rngs=rngs)
        self.seen = nnx.Variable(jnp.zeros(()))


def init(key):
    return Net(rngs=nnx.Rngs(key))


def loss(model, batch, key):
    """A mean over rows; one log is a mean over some of them."""
    (x, y), offset = batch
    model.seen[...] += len(x)
    error = ((model.layer(x) + offset[None] - y) ** 2).sum(-1)
    noise = jax.random.normal(key, (len(x),))
    moments = {"noise": noise.mean(), "noise_square": (noise**2).mean()}
    return error.mean(), {"far": Mean.of(error, error > 1), **moments}


def steps(pieces: int, devices: int = 1, size: int = 24):
    mesh = make_mesh(devices)
    plan = make_plan(init, TX, mesh)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, size, 3)).astype(np.float32)
    y = rng.normal(size=(3, size, 2)).astype(np.float32)
    block = Block((x, y), jnp.array([0.5, -0.5]))
    step = make_train_step(loss, plan, TX, mesh, pieces=pieces)
    state = start(init, jax.random.key(0), TX, plan)
    return step(state, put_block(block, mesh), jax.random.key(1))


@pytest.fixture(scope="module")
def whole():
    return steps(1)


@pytest.mark.parametrize(("pieces", "devices"), [(2, 1), (24, 1), (3, 4), (6, 4)])
def test_pieces_move_the_weights_as_the_whole_batch_does(whole, pieces, devices):
    state, logs, finite = steps(pieces, devices)
    for a, b in zip(
        jax.tree.leaves((state.params, state.opt_state)),
        jax.tree.leaves((whole[0].params, whole[0].opt_state)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert finite.shape == whole[2].shape and bool(finite.all())
    for name in ("loss", "grad_norm", "far"):
        found, expected = logs[name].compute(), whole[1][name].compute()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_the_model_keeps_passes_through_all_pieces(whole):
    state, _, _ = steps(4)
    assert float(whole[0].rest["seen"]) == 3 * 24
    assert float(state.rest["seen"]) == 3 * 24


def test_each_piece_has_noise_of_its_own():
    """24 pieces of one row: if all had the same noise, it would have no variance."""
    _, logs, _ = steps(24)
    mean, square = logs["noise"].compute(), logs["noise_square"].compute()
    assert (square - mean**2 > 0.1).all()


def test_a_batch_that_cannot_be_cut_is_one_line():
    with pytest.raises(UsageError, match=r"a batch of 24 cannot be cut into 5 pieces"):
        steps(5)
