"""Published checkpoints in our networks: names, shapes, padding, what is missing."""

import numpy as np
import pytest
from flax import nnx

from egojax.errors import UsageError
from egojax.models import convert
from egojax.models.nerf import Nerf, NerfConfig
from tests.nerf_by_formula import by_formula, unit
from tests.published_state import state_of

PUBLISHED = {
    "embedding_t.W": (21, 17),
    "embedding_a.weight": (1000, 48),
    "nerf_coarse.xyz_encoding_1.0.weight": (256, 63),
    "nerf_coarse.xyz_encoding_1.0.bias": (256,),
    "nerf_fine.xyz_encoding_5.0.weight": (256, 319),
    "nerf_fine.xyz_encoding_8.0.weight": (256, 256),
    "nerf_fine.xyz_encoding_final.weight": (256, 256),
    "nerf_coarse.dir_encoding.0.weight": (128, 283),
    "nerf_fine.dir_encoding.0.weight": (128, 331),
    "nerf_fine.static_sigma.0.weight": (1, 256),
    "nerf_fine.static_rgb.0.weight": (3, 128),
    "nerf_fine.transient_encoding.0.weight": (128, 273),
    "nerf_fine.person_encoding.0.weight": (128, 273),
    "nerf_fine.person_encoding.6.weight": (128, 128),
    "nerf_fine.person_sigma.0.weight": (1, 128),
    "nerf_fine.person_rgb.0.bias": (3,),
    "nerf_fine.transient_beta.0.weight": (1, 128),
}


def look(model: Nerf):
    points, dirs = np.full((2, 4, 3), 0.4, np.float32), unit((0, 0, 1), (0, 1, 1))
    slots = np.array([2, 5])
    return model.samples(points, -points, dirs, slots, slots)


@pytest.mark.parametrize("padded", [True, False])
def test_a_checkpoint_gives_the_network_that_it_was_made_of(padded):
    model = by_formula()
    state = state_of(model, padded)
    state["embedding_t.P"] = np.zeros((10, 21), np.float32)  # Of the later code,
    state["nerf_fine.person_emb.0.weight"] = np.zeros((16, 32))  # as this.
    found = convert.nerf_from_official(state)
    assert found.config == model.config
    for ours, theirs in zip(look(found), look(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    encoded = np.full((1, 1, 3), 0.3, np.float32)
    np.testing.assert_array_equal(
        found.coarse_density(encoded), model.coarse_density(encoded)
    )


def test_names_and_shapes_of_a_full_size_checkpoint_are_the_published_ones():
    model = Nerf(NerfConfig(), rngs=nnx.Rngs(0))
    state = state_of(model)
    assert {name: state[name].shape for name in PUBLISHED} == PUBLISHED
    found = convert.nerf_from_official(state)
    assert found.config == NerfConfig()
    np.testing.assert_array_equal(look(found).rgb, look(model).rgb)


@pytest.mark.parametrize("kind", ["nerfw", "tnerf"])
def test_baselines_are_known_by_their_time_code(kind):
    config = NerfConfig(kind=kind, width=64, num_slots=10)
    model = Nerf(config, rngs=nnx.Rngs(1))
    found = convert.nerf_from_official(state_of(model))
    assert found.config == config
    np.testing.assert_array_equal(look(found).rgb, look(model).rgb)


def test_all_that_is_wrong_with_a_checkpoint_is_told_at_once():
    state = state_of(by_formula())
    del state["nerf_fine.transient_rgb.0.bias"]
    state["nerf_coarse.xyz_encoding_3.0.weight"] = np.zeros((64, 32))
    state["nerf_fine.static_rgb.0.bias"] = np.full(3, np.nan)
    with pytest.raises(UsageError) as err:
        convert.nerf_from_official(state)
    lines = [line.removeprefix("checkpoint: ") for line in str(err.value).splitlines()]
    assert sorted(lines) == [
        "nerf_coarse.xyz_encoding_3.0.weight is (64, 32); expected (64, 64)",
        "nerf_fine.static_rgb.0.bias holds NaN or infinite weights",
        "nerf_fine.transient_rgb.0.bias is missing",
    ]


def test_no_checkpoint_is_of_the_kind_without_codes():
    with pytest.raises(UsageError, match="which kind nerf has not"):
        convert.nerf_from_official(state_of(by_formula()), "nerf")


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ([1, 2], "a list; expected a state_dict"),
        ({"state_dict": {}}, "no tensors"),
        ({"conv1.weight": np.zeros((3, 3))}, "no nerf_fine.xyz_encoding_1.0.weight"),
    ],
)
def test_what_is_no_such_checkpoint_is_told(checkpoint, said):
    with pytest.raises(UsageError, match=said):
        convert.nerf_from_official(convert.state_of(checkpoint))


def test_the_weights_are_found_in_a_checkpoint_of_a_training_framework():
    state = {"a": np.zeros(2)}
    whole = {"epoch": 9, "state_dict": state, "callbacks": {"x": {}}}
    assert convert.state_of(whole).keys() == convert.state_of(state).keys() == {"a"}
