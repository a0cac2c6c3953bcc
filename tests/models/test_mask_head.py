"""The published head with reproducible weights: the official numbers, names, sizes."""

import dataclasses
import functools
import math

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from egojax.errors import UsageError
from egojax.models.convert_masks import head_from_official, head_state, head_table
from egojax.models.mask_head import MaskHead, fitted
from egojax.models.mask_layers import MaskHeadConfig

PIXELS, PREDICTOR = "sem_seg_head.pixel_decoder", "sem_seg_head.predictor"
NARROW = MaskHeadConfig(
    num_masks=3, features=8, width=16, groups=4, heads=2, layers=2, hidden=32
)


def manifest() -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint, written here from the published description."""
    out: dict[str, tuple[int, ...]] = {}

    def put(name: str, *shape: int) -> None:
        out[name] = shape

    def norm(name: str) -> None:
        put(f"{name}.weight", 256)
        put(f"{name}.bias", 256)

    def affine(name: str, dout: int, *more: int) -> None:
        put(f"{name}.weight", dout, *more)
        put(f"{name}.bias", dout)

    put(f"{PIXELS}.layer_4.weight", 256, 768, 3, 3)
    norm(f"{PIXELS}.layer_4.norm")
    for level in (1, 2, 3):
        put(f"{PIXELS}.adapter_{level}.weight", 256, 768, 1, 1)
        put(f"{PIXELS}.layer_{level}.weight", 256, 256, 3, 3)
        norm(f"{PIXELS}.adapter_{level}.norm")
        norm(f"{PIXELS}.layer_{level}.norm")
    for at, side in ((0, 3), (2, 1), (3, 3), (5, 1)):
        put(f"{PIXELS}.mask_features.{at}.weight", 256, 256, side, side)
        norm(f"{PIXELS}.mask_features.{at}.norm")
    affine(f"{PIXELS}.mask_features.6", 256, 256, 3, 3)
    affine(f"{PREDICTOR}.input_proj", 256, 768, 1, 1)
    put(f"{PREDICTOR}.query_embed.weight", 4, 256)
    for n in range(3):
        affine(f"{PREDICTOR}.mask_embed.layers.{n}", 256, 256)
    decoder = f"{PREDICTOR}.transformer.decoder"
    for n in range(6):
        for kind in ("self_attn", "multihead_attn"):
            put(f"{decoder}.layers.{n}.{kind}.in_proj_weight", 768, 256)
            put(f"{decoder}.layers.{n}.{kind}.in_proj_bias", 768)
            affine(f"{decoder}.layers.{n}.{kind}.out_proj", 256, 256)
        affine(f"{decoder}.layers.{n}.linear1", 2048, 256)
        affine(f"{decoder}.layers.{n}.linear2", 256, 2048)
        for k in (1, 2, 3):
            norm(f"{decoder}.layers.{n}.norm{k}")
    norm(f"{decoder}.norm")
    return out


UNUSED = {
    f"{PREDICTOR}.mask_querie_comb.0.weight": (4, 4, 1, 1),
    f"{PREDICTOR}.mask_querie_comb.0.bias": (4,),
    f"{PREDICTOR}.mask_querie_comb.1.weight": (2, 4, 5, 5),
    f"{PREDICTOR}.mask_querie_comb.1.bias": (2,),
    "criterion.empty_weight": (3,),
}


def is_shared(name: str) -> bool:
    return "mask_features" in name and ".norm." in name


def reproducible() -> dict[str, np.ndarray]:
    """Spec 10.9: weight number q, in the order of names, is of the seed 1000 + q."""
    state = {}
    for q, (name, shape) in enumerate(sorted(manifest().items())):
        value = np.random.RandomState(1000 + q).standard_normal(shape)
        if len(shape) > 1 and "query_embed" not in name:
            value /= math.sqrt(math.prod(shape[1:]))
        elif "norm" in name and name.endswith("weight"):
            value = 1 + 0.1 * value
        elif len(shape) == 1:
            value = 0.1 * value
        state[name] = value.astype(np.float32)
    for name in filter(is_shared, state):
        state[name] = state[f"{PIXELS}.layer_4.norm.{name.split('.')[-1]}"]
    for name, shape in UNUSED.items():
        state[name] = np.ones(shape, np.float32)
    return state


@functools.cache
def published() -> MaskHead:
    return head_from_official(reproducible())


def features() -> list[jax.Array]:
    drawn = [
        np.random.RandomState(seed).standard_normal((1, 768, 5, 7))
        for seed in range(7, 11)
    ]
    return [jnp.asarray(x.transpose(0, 2, 3, 1), jnp.float32) for x in drawn]


def test_the_official_order_of_names():
    names = sorted(manifest())
    assert len(names) == 154
    assert names[0] == f"{PIXELS}.adapter_1.norm.bias"
    assert names[33] == f"{PIXELS}.mask_features.6.bias"
    assert names[35] == f"{PREDICTOR}.input_proj.bias"
    assert names[153] == f"{PREDICTOR}.transformer.decoder.norm.weight"


def test_the_official_numbers():
    model, given = published(), features()
    fine = jax.jit(lambda x: model.pixels(x))(given)
    assert fine.shape == (1, 26, 34, 256)
    at = [0, 100, 255]
    expected = [0.2997426, -0.01654, -0.0150274]
    np.testing.assert_allclose(fine[0, 0, 0, jnp.array(at)], expected, atol=2e-6)
    expected = [0.7276931, -0.1830974, 0.7056865]
    np.testing.assert_allclose(fine[0, 13, 17, jnp.array(at)], expected, atol=2e-6)
    assert float(fine.mean()) == pytest.approx(0.02604526, abs=1e-6)
    assert float(fine.std(ddof=1)) == pytest.approx(0.70339274, rel=1e-6)
    logits = np.asarray(jax.jit(lambda x: model(x))(given))
    assert logits.shape == (1, 4, 26, 34) and logits.dtype == np.float32
    rows = {
        (0, 0): [0.4236419, 1.2389646, 0.290338, 0.2360989],
        (13, 17): [2.0823076, 5.3195944, 4.6106176, 2.4861617],
        (25, 33): [4.515163, 5.1587734, 4.755742, 4.396272],
    }
    for (row, column), expected in rows.items():
        np.testing.assert_allclose(logits[0, :, row, column], expected, atol=3e-5)
    assert logits.mean() == pytest.approx(4.903985, rel=1e-5)
    assert logits.std(ddof=1) == pytest.approx(3.803042, rel=1e-5)
    counts = np.bincount(logits[0].argmax(0).ravel(), minlength=4)
    np.testing.assert_array_equal(counts, [9, 518, 352, 5])


def test_what_the_official_decoder_hands_on():
    """Before the last three layers."""
    model, seen = published().queries, []
    first = model.embed[0]
    model.embed[0] = lambda x: (seen.append(x), first(x))[1]
    try:
        model(features()[-1], None)
    finally:
        model.embed[0] = first
    expected = [
        [0.8372561, -0.5111074, -1.6561341],
        [0.6762647, -0.8690874, -1.2277455],
        [0.730087, -0.8171602, -1.3357226],
        [0.1375551, -0.570556, -1.5833907],
    ]
    np.testing.assert_allclose(seen[0][0, :, :3], expected, atol=1e-5)


def test_names_shapes_and_sizes_are_the_published_ones():
    expected = manifest()
    assert {row.theirs for row in head_table(MaskHeadConfig())} == set(expected)
    blank = nnx.eval_shape(lambda: MaskHead(MaskHeadConfig(), rngs=nnx.Rngs(0)))
    size = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(blank, nnx.Param)))
    unused = sum(math.prod(shape) for shape in UNUSED.values()) - 3
    assert (unused, size + unused) == (222, 15_901_662)


def test_all_that_is_wrong_with_a_checkpoint_is_told_at_once():
    state = reproducible()
    layer = f"{PREDICTOR}.transformer.decoder.layers.2"
    del state[f"{layer}.self_attn.in_proj_weight"]
    state[f"{layer}.linear1.bias"] = np.zeros(256, np.float32)
    state[f"{PIXELS}.mask_features.3.norm.bias"] = np.zeros(256, np.float32)
    state[f"{PIXELS}.pixel_decoder.layer_4.weight"] = state[f"{PIXELS}.layer_4.weight"]
    with pytest.raises(UsageError) as err:
        head_from_official(state, where="davis.pth")
    assert str(err.value).splitlines() == [
        f"davis.pth: {line}"
        for line in (
            f"{PIXELS}.pixel_decoder.layer_4.weight is not a weight of this network",
            f"{PIXELS}.mask_features.3.norm.bias is not {PIXELS}.layer_4.norm.bias, "
            "with which it is shared",
            f"{layer}.self_attn.in_proj_weight is missing",
            f"{layer}.linear1.bias is (256,); expected (2048,)",
        )
    ]


def test_weights_are_found_in_a_checkpoint_and_its_running_mean():
    name = f"{PIXELS}.layer_4.weight"
    checkpoint = {
        "model": {name: np.zeros(2), "backbone.x": np.zeros(1)},
        "ema_model": {
            f"ema_model.{name}": np.ones(2),
            "initted": np.array(True),
            "step": np.array(3),
        },
        "iteration": 5,
    }
    found = head_state(checkpoint)
    assert found.keys() == {name} and (found[name] == 0).all()
    found = head_state(checkpoint, mean=True)
    assert found.keys() == {name} and (found[name] == 1).all()
    plain = head_state(checkpoint["model"], mean=True)
    assert plain.keys() == {name} and (plain[name] == 0).all()
    for other in ({"x": 1}, [1, 2], {"model": {"conv1": np.zeros(3)}}):
        with pytest.raises(UsageError, match=r"a.pth: no weights sem_seg_head\.\*"):
            head_state(other, where="a.pth")


def narrow(rng: int = 0) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(rng), 4)
    return [jax.random.normal(key, (2, 5, 7, 8)) for key in keys]


def test_something_is_dropped_only_with_a_key():
    model = MaskHead(NARROW, rngs=nnx.Rngs(0))
    given, key = narrow(), jax.random.key(1)
    plain, noisy = jax.jit(model)(given), jax.jit(model)
    first = noisy(given, key)
    np.testing.assert_array_equal(first, noisy(given, jax.random.key(1)))
    assert np.abs(first - plain).max() > 1e-3
    assert np.abs(first - noisy(given, jax.random.key(2))).max() > 1e-3
    still = MaskHead(dataclasses.replace(NARROW, dropout=0.0), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(jax.jit(still)(given, key), plain, atol=1e-6)


def test_a_batch_is_its_images_one_by_one():
    model, given = jax.jit(MaskHead(NARROW, rngs=nnx.Rngs(0))), narrow()
    both = model(given)
    assert both.shape == (2, 3, 26, 34)
    for n in range(2):
        alone = model([x[n : n + 1] for x in given])
        np.testing.assert_allclose(both[n : n + 1], alone, atol=2e-5)


def test_half_precision_is_near():
    given = narrow()
    exact = jax.jit(MaskHead(NARROW, rngs=nnx.Rngs(0)))(given)
    config = dataclasses.replace(NARROW, dtype="bfloat16")
    found = jax.jit(MaskHead(config, rngs=nnx.Rngs(0)))(given)
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - exact).mean() < 0.05 * np.abs(exact).mean()


def test_all_weights_learn():
    """Each has a gradient, but for the biases of keys, which softmax does not see.

    And but for the first look of queries at each other, which is at zeros.
    """
    model = MaskHead(NARROW, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model, nnx.Param)

    def loss(params):
        return jnp.sin(nnx.merge(graphdef, params)(narrow())).sum()

    slopes = jax.tree_util.tree_leaves_with_path(
        nnx.to_pure_dict(jax.jit(jax.grad(loss))(params))
    )
    still = set()
    for path, slope in slopes:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.isfinite(slope).all()
        if np.abs(slope).max() < 1e-4:
            still.add(name)
    parts = ("query", "key", "value", "out")
    assert {name for name in still if not name.endswith("key/bias")} == {
        *(f"queries/layers/0/own/{part}/kernel" for part in parts),
        *("queries/layers/0/own/query/bias", "queries/layers/0/norm1/scale"),
    }


def test_fresh_weights_are_as_published():
    model = MaskHead(MaskHeadConfig(), rngs=nnx.Rngs(0))

    def check(weights, bound):
        values = np.asarray(weights[...])
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        np.testing.assert_allclose(values.std(), bound / 3**0.5, rtol=0.03)

    check(model.pixels.last.kernel, (3 / (768 * 9)) ** 0.5)
    check(model.pixels.adapters[1].kernel, (3 / 768) ** 0.5)
    check(model.pixels.layers[0].kernel, (3 / (256 * 9)) ** 0.5)
    check(model.pixels.fine[0].kernel, (1 / (256 * 9)) ** 0.5)
    check(model.pixels.fine[1].kernel, (1 / 256) ** 0.5)
    check(model.pixels.out.kernel, (1 / (256 * 9)) ** 0.5)
    queries = model.queries
    check(queries.input.kernel, (3 / 768) ** 0.5)
    layer = queries.layers[3]
    check(layer.own.query.kernel, (6 / 1024) ** 0.5)
    check(layer.cross.out.kernel, (6 / 512) ** 0.5)
    check(layer.linear1.kernel, (6 / 2304) ** 0.5)
    check(queries.embed[2].kernel, (1 / 256) ** 0.5)
    assert (np.asarray(queries.input.bias[...]) == 0).all()
    assert (np.asarray(layer.own.key.bias[...]) == 0).all()
    bias = np.asarray(layer.linear2.bias[...])
    assert 0.9 * 2048**-0.5 < np.abs(bias).max() <= 2048**-0.5
    np.testing.assert_allclose(np.std(queries.queries[...]), 1, rtol=0.1)


def test_logits_that_are_hardly_too_large_lose_their_border():
    logits = jnp.arange(194 * 354, dtype=jnp.float32).reshape(1, 1, 194, 354)
    found = fitted(logits, (192, 352))
    assert found.shape == (1, 1, 192, 352)
    assert (found[0, 0, 0, 0], found[0, 0, -1, -1]) == (355, 68320)
    np.testing.assert_array_equal(fitted(logits, (194, 354)), logits)
    resized = fitted(logits, (170, 352))  # 194 is more than 1.1 times 170.
    assert resized.shape == (1, 1, 170, 352)
    assert resized[0, 0, 0, 0] > 0 and resized[0, 0, 0, 1] - resized[0, 0, 0, 0] != 1
    larger = fitted(logits, (388, 708))
    assert larger.shape == (1, 1, 388, 708) and larger[0, 0, 0, 0] == 0


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_gradient_lowers_for_every_device(platform):
    graphdef, params = nnx.split(MaskHead(NARROW, rngs=nnx.Rngs(0)), nnx.Param)

    def loss(params, given, key):
        return jnp.sin(nnx.merge(graphdef, params)(given, key)).sum()

    export = jax.export.export(jax.jit(jax.grad(loss)), platforms=[platform])
    assert export(params, narrow(), jax.random.key(0)).mlir_module()
