"""Learning rates and optimisers by name, against their definitions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from egojax.errors import UsageError
from egojax.models.mask_head import MaskHead
from egojax.models.mask_layers import MaskHeadConfig
from egojax.train.optim import (
    Group,
    OptimConfig,
    RunningMean,
    make_optimizer,
    make_schedule,
    trained_params,
)

# As LRTL was trained; its pattern is of our mask head's norms and queries.
LRTL = OptimConfig(
    learning_rate=1.5e-4,
    warmup_steps=1500,
    warmup_share=1e-6,
    decay_steps=160_000,
    decay_power=0.9,
    weight_decay=0.01,
    groups=(Group("norm|^queries/queries$", 1.0, decay=0.0),),
    clip_norm=0.01,
    mean_share=0.99,
)
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


def test_the_published_rate_of_lrtl():
    """Spec 10.5: a warm-up, times a polynomial from the first step on."""
    steps = [0, 1, 750, 1499, 1500, 5000, 10_000, 20_000]
    expected = [
        *(1.5e-10, 1.0014933666e-7, 7.4683594148e-5, 1.4863546792e-4),
        *(1.4873377969e-4, 1.4577458141e-4, 1.4153550793e-4, 1.3301435314e-4),
    ]
    schedule = jax.jit(make_schedule(LRTL))
    np.testing.assert_allclose([schedule(n) for n in steps], expected, rtol=1e-6)
    assert schedule(200_000) == 0
    without = OptimConfig(learning_rate=0.5, decay_steps=100, decay_power=2.0)
    assert make_schedule(without)(50) == pytest.approx(0.125)


def test_a_warmup_may_begin_at_a_share():
    config = OptimConfig(learning_rate=0.2, warmup_steps=10, warmup_share=0.1)
    found = [float(make_schedule(config)(step)) for step in (0, 5, 10, 90)]
    np.testing.assert_allclose(found, [0.02, 0.11, 0.2, 0.2], rtol=1e-5)


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
    config = OptimConfig(decay_power=0.9, mean_share=1.0, mean_every=0)
    with pytest.raises(UsageError) as err:
        make_optimizer(config)
    assert str(err.value).splitlines() == [
        "optim.mean_share = 1.0: not in [0, 1)",
        "optim.mean_every = 0: must be > 0",
        "optim.decay_power: needs decay_steps",
    ]


def test_a_group_of_nothing_is_told():
    tx = make_optimizer(OptimConfig(groups=(Group("tabel", 5.0),)))
    with pytest.raises(UsageError, match=r"optim.groups: 'tabel' matches no weight"):
        tx.init(PARAMS)


def test_groups_may_decay_in_another_way():
    """By hand: without a gradient, a step is rate times decay times the weight."""
    groups = (Group("table", 1.0, decay=0.0),)
    for name in ("adam", "sgd"):
        config = OptimConfig(name, 0.1, groups=groups, weight_decay=0.01)
        tx = make_optimizer(config)
        still = jax.tree.map(jnp.zeros_like, PARAMS)
        updates, _ = tx.update(still, tx.init(PARAMS), PARAMS)
        np.testing.assert_allclose(updates["grid"]["table"], 0)
        np.testing.assert_allclose(updates["net"]["kernel"], -0.001, rtol=1e-6)


def test_all_weights_of_the_mask_head_decay_but_norms_and_queries():
    config = MaskHeadConfig(features=8, width=8, groups=2, heads=2, layers=2, hidden=8)
    head = MaskHead(config, rngs=nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(head, nnx.Param))
    params = jax.tree.map(jnp.ones_like, params)
    tx = make_optimizer(dataclasses.replace(LRTL, warmup_steps=0, mean_share=0.0))
    still = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(tx.update)(still, tx.init(params), params)
    kept = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
        expected = 0.0 if leaf.max() == 0 else -1.5e-6
        np.testing.assert_allclose(leaf, expected, rtol=1e-5)
        if not expected:
            kept.add(jax.tree_util.keystr(path, simple=True, separator="/"))
    layers = [f"queries/layers/{n}/norm{k}" for n in (0, 1) for k in (1, 2, 3)]
    pixels = [f"{kind}_norms/{n}" for kind in ("adapter", "layer") for n in range(3)]
    norms = [*layers, "queries/norm", "pixels/shared_norm"]
    norms += [f"pixels/{name}" for name in pixels]
    both = {f"{name}/{part}" for name in norms for part in ("scale", "bias")}
    assert kept == both | {"queries/queries"}


def test_a_gradient_is_cut_to_the_published_norm():
    """Adam's first moment holds a tenth of it."""
    config = dataclasses.replace(LRTL, groups=(), mean_share=0.0)
    tx = make_optimizer(config)
    _, state = tx.update(SLOPES, tx.init(PARAMS), PARAMS)
    (adam,) = (s for s in jax.tree.leaves(state, is_leaf=is_adam) if is_adam(s))
    assert optax.tree.norm(adam.mu) == pytest.approx(0.001, rel=1e-5)


def is_adam(state) -> bool:
    return isinstance(state, optax.ScaleByAdamState)


def means(config: OptimConfig, calls: int) -> np.ndarray:
    """Of a weight that equals the number of the call, from 0 on; after each call."""
    tx = make_optimizer(config)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update({"w": jnp.full(1, -1.0)}, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), trained_params(state, params)["w"][0]

    start = {"w": jnp.full(1, -1.0)}
    _, found = jax.lax.scan(step, (start, tx.init(start)), length=calls)
    return np.asarray(found)


def test_the_official_running_mean():
    config = OptimConfig("sgd", 1.0, mean_share=0.99)
    found = means(config, 1991)
    calls = [10, 1499, 1500, 1510, 1520, 1530, 1600, 1990]
    expected = [10, 1490, 1500, 1510, 1511.313721, 1513.207275, 1532.951172]
    np.testing.assert_allclose(found[calls], [*expected, 1697.764648], rtol=1e-6)


def test_a_running_mean_forgets_no_faster_than_by_its_share():
    """By hand, in Python's floats, with other periods; and none is kept without."""
    config = OptimConfig("sgd", 1.0, mean_share=0.5, mean_after=5, mean_every=2)
    found, mean, is_copied = means(config, 30), -1.0, False
    for call in range(30):
        if call % 2 == 0 and call <= 5:
            mean = call
        elif call % 2 == 0:
            mean = mean if is_copied else call
            is_copied = True
            kept = min(1 - (1 + call - 5) ** (-2 / 3), 0.5)
            mean = kept * mean + (1 - kept) * call
        assert found[call] == pytest.approx(mean, rel=1e-6)
    plain = OptimConfig("sgd", 1.0)
    np.testing.assert_array_equal(means(plain, 5), np.arange(5))
    assert not isinstance(make_optimizer(plain).init(PARAMS), RunningMean)
