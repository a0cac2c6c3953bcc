"""The frozen transformer against NumPy in float64, and the published names."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from egojax.errors import UsageError
from egojax.models import dino
from egojax.models.convert_masks import dino_from_official, dino_table
from egojax.models.dino import DINO_B8, DINO_S8, Dino, DinoConfig
from egojax.ops.image import resize_bicubic

TINY = DinoConfig(dim=16, heads=4, blocks=4, grid=3, layers=(0, 2))
LAYERS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def shapes(config: DinoConfig) -> dict[str, tuple[int, ...]]:
    """What an official file has, written here from the published description."""
    dim = config.dim
    sizes = [(dim,), (3 * dim, dim), (dim, dim), (dim,), (4 * dim, dim), (dim, 4 * dim)]
    out = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, 1 + config.grid**2, dim),
        "patch_embed.proj.weight": (dim, 3, 8, 8),
        "patch_embed.proj.bias": (dim,),
    }
    for n in range(config.blocks):
        for name, size in zip(LAYERS, sizes, strict=True):
            out[f"blocks.{n}.{name}.weight"] = size
            out[f"blocks.{n}.{name}.bias"] = size[:1]
    return {**out, "norm.weight": (dim,), "norm.bias": (dim,)}


def random_state(config: DinoConfig, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes(config).items():
        values = rng.normal(size=shape) * (0.3 if len(shape) < 2 else shape[-1] ** -0.5)
        is_scale = "norm" in name and name.endswith("weight")
        state[name] = (values + is_scale).astype(np.float32)
    return state


def by_definition(state, config: DinoConfig, images) -> list[np.ndarray]:
    """Keys of the wanted blocks, token by token and head by head."""
    w = {name: value.astype(np.float64) for name, value in state.items()}
    dim, size = config.dim, config.dim // config.heads
    height, width = ((n - 8) // config.stride + 1 for n in images.shape[:2])
    table = w["pos_embed"][0, 1:].reshape(config.grid, config.grid, dim)
    if (height, width) != (config.grid, config.grid):
        scale = (height + 0.1) / config.grid, (width + 0.1) / config.grid
        table = resize_bicubic(jnp.asarray(table, jnp.float32), (height, width), scale)
    tokens = [w["cls_token"][0, 0] + w["pos_embed"][0, 0]]
    for i in range(height):
        for j in range(width):
            y, x = i * config.stride, j * config.stride
            patch = images[y : y + 8, x : x + 8].transpose(2, 0, 1)
            cell = (w["patch_embed.proj.weight"] * patch[None]).sum((1, 2, 3))
            cell = cell + w["patch_embed.proj.bias"] + np.asarray(table)[i, j]
            tokens.append(cell)
    x, found = np.stack(tokens), []

    def affine(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        spread = np.sqrt(x.var(1, keepdims=True) + 1e-6)
        centred = (x - x.mean(1, keepdims=True)) / spread
        return centred * w[f"{name}.weight"] + w[f"{name}.bias"]

    for n in range(max(config.layers) + 1):
        name = f"blocks.{n}"
        qkv = affine(norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
        qkv = qkv.reshape(-1, 3, config.heads, size)
        out = np.zeros((len(x), config.heads, size))
        for head in range(config.heads):
            q, k, v = qkv[:, :, head].transpose(1, 0, 2)
            scores = np.exp(q @ k.T / np.sqrt(size))
            out[:, head] = scores / scores.sum(1, keepdims=True) @ v
        if n in config.layers:
            keys = qkv[1:, 1].transpose(0, 2, 1)  # Channels (dimension, head).
            found.append(keys.reshape(height, width, dim))
        x = x + affine(out.reshape(-1, dim), f"{name}.attn.proj")
        inner = affine(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        x = x + affine(inner, f"{name}.mlp.fc2")
    return found


@pytest.mark.parametrize("size_hw", [(20, 31), (16, 16)])
def test_keys_are_those_of_the_definition(size_hw):
    state = random_state(TINY)
    images = np.random.default_rng(1).normal(size=(2, *size_hw, 3)).astype(np.float32)
    found = dino_from_official(state, TINY)(jnp.asarray(images))
    assert len(found) == 2
    for n, image in enumerate(images):
        for keys, expected in zip(
            found, by_definition(state, TINY, image), strict=True
        ):
            np.testing.assert_allclose(keys[n], expected, atol=2e-4)


def test_many_tokens_are_attended_to_in_parts():
    """Over 512 of them, with a last part that is not full."""
    config = DinoConfig(dim=8, heads=2, blocks=2, grid=3, layers=(1,))
    state = random_state(config)
    image = np.random.default_rng(1).normal(size=(104, 112, 3)).astype(np.float32)
    (found,) = dino_from_official(state, config)(jnp.asarray(image[None]))
    (expected,) = by_definition(state, config, image)
    assert found.shape == (1, 25, 27, 8)
    np.testing.assert_allclose(found[0], expected, atol=2e-4)


def test_half_precision_is_near():
    state = random_state(TINY)
    images = np.random.default_rng(1).normal(size=(1, 20, 32, 3)).astype(np.float32)
    half = dataclasses.replace(TINY, dtype="bfloat16")
    exact = dino_from_official(state, TINY)(jnp.asarray(images))
    found = dino_from_official(state, half)(jnp.asarray(images))
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        error = np.abs(np.asarray(a, np.float32) - b)
        assert 0 < error.mean() < 0.02 * np.abs(b).mean()


def test_positions_of_the_size_that_was_trained_on_are_as_they_are():
    config = DinoConfig(dim=8, heads=2, grid=3, layers=(0,))
    model = dino_from_official(random_state(config), config)
    table = model.positions[...][:, 1:].reshape(1, 3, 3, 8)
    np.testing.assert_array_equal(model._grid(3, 3), table)


@pytest.mark.parametrize(
    ("config", "count", "size"),
    [(DINO_B8, 150, 85_807_872), (DINO_S8, 150, 21_670_272)],
)
def test_names_and_shapes_are_the_published_ones(config, count, size):
    """All names of a file are in the table; the network has what it needs of them."""
    expected = shapes(config)
    rows = dino_table(config)
    assert sorted(row.theirs for row in rows) == sorted(expected)
    assert len(expected) == count
    assert sum(int(np.prod(shape)) for shape in expected.values()) == size
    state = {name: np.broadcast_to(np.float32(0), s) for name, s in expected.items()}
    # One bad number: all else is found right, but the rest is not copied.
    state["norm.bias"] = np.full(config.dim, np.nan, np.float32)
    with pytest.raises(UsageError) as err:
        dino_from_official(state, config)
    assert str(err.value) == "weights: norm.bias holds NaN or infinite weights"


def test_all_that_is_wrong_with_a_file_is_told_at_once():
    state = random_state(TINY)
    del state["blocks.1.attn.qkv.bias"]
    state["blocks.2.attn.qkv.weight"] = np.zeros((48, 15), np.float32)
    state["blocks.7.norm1.bias"] = np.zeros(16, np.float32)
    with pytest.raises(UsageError) as err:
        dino_from_official(state, TINY, "vit.pth")
    assert str(err.value).splitlines() == [
        "vit.pth: blocks.7.norm1.bias is not a weight of this network",
        "vit.pth: blocks.1.attn.qkv.bias is missing",
        "vit.pth: blocks.2.attn.qkv.weight is (48, 15); expected (48, 16)",
    ]


def test_the_published_grid_of_patches():
    model = jax.eval_shape(
        lambda: Dino(DINO_S8, rngs=nnx.Rngs(0))(jnp.zeros((1, 192, 352, 3)))
    )
    assert [keys.shape for keys in model] == [(1, 47, 87, 384)]


def test_images_are_normalised_and_padded_below():
    rgb = np.stack([np.full((30, 33, 3), dino.MEAN), np.full((30, 33, 3), 255.0)])
    found = np.asarray(dino.normalised(jnp.asarray(rgb, jnp.float32)))
    assert found.shape == (2, 32, 64, 3)
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    np.testing.assert_allclose(found[1, 0, 0], [2.2489083, 2.4285715, 2.64], rtol=1e-5)
    assert (found[1, 30:] == 0).all() and (found[1, :, 33:] == 0).all()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_keys_lower_for_every_device(platform):
    graphdef, params = nnx.split(Dino(TINY, rngs=nnx.Rngs(0)))
    step = jax.jit(lambda params, images: nnx.merge(graphdef, params)(images))
    given = jax.ShapeDtypeStruct((1, 104, 112, 3), jnp.float32)
    assert jax.export.export(step, platforms=[platform])(params, given).mlir_module()
