"""Learning rates and optimisers by name, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egojax.errors import UsageError
from egojax.train.optim import Group, OptimConfig, make_optimizer, make_schedule

PUBLISHED = [
    *(5.00000000e-04, 4.87764374e-04, 4.52255204e-04, 3.96948374e-04, 3.27257704e-04),
    *(2.50005000e-04, 1.72752296e-04, 1.03061626e-04, 4.77547965e-05, 1.22456262e-05),
]


def test_a_cosine_in_pieces_is_the_published_rate_per_epoch():
    config = OptimConfig(
        learning_rate=5e-4, decay_steps=70, final_share=2e-5, decay_pieces=10
    )
    schedule = jax.jit(make_schedule(config))
    for step in range(70):
        assert float(schedule(step)) == pytest.approx(PUBLISHED[step // 7], rel=1e-5)


def test_a_long_schedule_in_pieces_never_rises():
    """Of 400 epochs: steps times pieces are more than 32 bits have."""
    steps, pieces = 400 * 22_400, 400
    config = OptimConfig(learning_rate=5e-4, decay_steps=steps, decay_pieces=pieces)
    schedule = jax.jit(make_schedule(config))
    for piece in (0, 1, 133, 399):
        share = 0.5 + 0.5 * np.cos(np.pi * piece / pieces)
        for step in (22_400 * piece, 22_400 * (piece + 1) - 1):
            found = float(schedule(step))
            assert found == pytest.approx(5e-4 * share, rel=1e-4, abs=1e-10)


def test_a_schedule_warms_up_and_decays_to_its_final_share():
    config = OptimConfig(
        learning_rate=0.2, warmup_steps=10, decay_steps=40, final_share=0.1
    )
    schedule = make_schedule(config)
    found = [float(schedule(step)) for step in (0, 5, 10, 30, 50, 90)]
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.11, 0.02, 0.02], rtol=1e-5)
    assert float(make_schedule(OptimConfig(learning_rate=0.3))(10**6)) == pytest.approx(
        0.3
    )


PARAMS = {"grid": {"table": jnp.ones(3)}, "net": {"kernel": jnp.ones((2, 2))}}
SLOPES = {
    "grid": {"table": jnp.full(3, 1e-9)},
    "net": {"kernel": jnp.full((2, 2), 0.3)},
}


def step(config: OptimConfig):
    tx = make_optimizer(config)
    updates, _ = tx.update(SLOPES, tx.init(PARAMS), PARAMS)
    return updates


def test_groups_have_rates_and_epsilons_of_their_own():
    """By hand: the first step of Adam is -rate g / (|g| + eps)."""
    groups = (Group("table", 5.0, 1e-15),)
    found = step(OptimConfig(learning_rate=0.01, groups=groups))
    np.testing.assert_allclose(found["grid"]["table"], -0.05, rtol=1e-4)
    np.testing.assert_allclose(found["net"]["kernel"], -0.01, rtol=1e-4)
    plain = step(OptimConfig(learning_rate=0.01))
    np.testing.assert_allclose(plain["grid"]["table"], -0.01 * 1e-9 / 1.1e-8, rtol=1e-2)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_without_groups_it_is_the_optimiser_of_that_name(name):
    config = OptimConfig(name, learning_rate=0.1, weight_decay=0.01, clip_norm=0.1)
    plain = {
        "adam": optax.adamw(0.1, weight_decay=0.01),
        "sgd": optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1)),
    }
    tx = optax.chain(optax.clip_by_global_norm(0.1), plain[name])
    expected, _ = tx.update(SLOPES, tx.init(PARAMS), PARAMS)
    found = step(config)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_wrong_settings_are_told_at_once():
    config = OptimConfig("rms", -1.0, decay_pieces=-1, eps=0.0)  # pyrefly: ignore
    with pytest.raises(UsageError) as err:
        make_optimizer(config)
    lines = str(err.value).splitlines()
    assert [line.split(" = ")[0] for line in lines] == [
        *("optim.name", "optim.learning_rate", "optim.decay_pieces", "optim.eps"),
    ]


def test_a_group_of_nothing_is_told():
    tx = make_optimizer(OptimConfig(groups=(Group("tabel", 5.0),)))
    with pytest.raises(UsageError, match=r"optim.groups: 'tabel' matches no weight"):
        tx.init(PARAMS)
