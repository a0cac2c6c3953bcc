"""Networks of masks: written and read, converted, and the published kind trained."""

import dataclasses
import json
import pathlib
import re

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from egojax.apps import cli
from egojax.data.pt_writing import write_pt
from egojax.errors import UsageError
from egojax.methods import mask_learning
from egojax.models.convert_masks import head_table
from egojax.models.dino import DinoConfig
from egojax.models.weights import named_weights
from egojax.ops.motion_losses import temporal_ramp
from egojax.tasks import mask_networks, mask_training
from egojax.train.optim import make_schedule
from tests.models.test_dino import random_state
from tests.tasks import test_mask_training as training

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = DinoConfig(dim=64, heads=1, blocks=8, grid=3, layers=(1, 3, 5, 7))


def official(backbone: pathlib.Path, **changes) -> ConfigDict:
    fields = dict(
        backbone=str(backbone), keys="recompute", width=32, layers=1, hidden=32
    )
    return ConfigDict({**fields, "dropout": 0.1, **changes})


def fields(**changes) -> ConfigDict:
    small = dict(size_hw=(24, 36), half=2, num_points=64)
    return training.config(**small, **changes)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("weights") / "dino.pth"
    write_pt(path, random_state(TINY))
    return path


@pytest.fixture(scope="module")
def kind(backbone) -> mask_networks.Kind:
    return mask_networks.published(fields(), official(backbone))


def published_state(model) -> dict[str, np.ndarray]:
    """Its weights under the published names: the inverse of the table."""
    named, state = named_weights(model), {}
    for row in head_table(model.config):
        if row.ours:
            weight = named[row.ours]
            if row.ours.endswith("kernel"):
                weight = np.moveaxis(weight, (-1, -2), (0, 1))
            state.setdefault(row.theirs, []).append((row.part[0], weight))
    joined = {
        name: np.concatenate([w for _, w in sorted(parts, key=lambda part: part[0])])
        for name, parts in state.items()
    }
    shared = {
        r.theirs: joined[r.same_as] for r in head_table(model.config) if r.same_as
    }
    return joined | shared


def test_what_was_learned_comes_back(kind, tmp_path):
    for each in (kind, mask_networks.unet(fields())):
        model = each.init(jax.random.key(1))
        path = tmp_path / f"{each.name}.npz"
        mask_networks.write(path, model, each)
        found = mask_networks.read(path, each)
        for a, b in zip(training.weights(model), training.weights(found), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(UsageError, match="a network of kind unet; expected head: set"):
        mask_networks.read(tmp_path / "unet.npz", kind)


def test_the_sizes_of_the_backbone_are_those_of_its_file(kind):
    assert kind.backbone is not None
    expected = dataclasses.replace(TINY, dtype="float32")
    assert kind.backbone.config == expected
    assert kind.about["features"] == 64


def test_published_weights_come_in_by_name(kind, tmp_path):
    """Each is accounted for; the running mean is another set."""
    model, other = (kind.init(jax.random.key(n)) for n in (2, 3))
    state = published_state(model)
    unused = {"criterion.empty_weight": np.ones(3, np.float32)}
    mean = {f"ema_model.{k}": v for k, v in published_state(other).items()}
    path = tmp_path / "best_ckpt.pth"
    write_pt(path, {"model": state | unused, "ema_model": mean, "iteration": 7})
    for asked, expected in ((False, model), (True, other)):
        found = mask_networks.read_published(path, kind, mean=asked)
        for a, b in zip(
            training.weights(found), training.weights(expected), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    name = "sem_seg_head.predictor.query_embed.weight"
    write_pt(path, {"model": {**state, name: np.zeros((5, 32), np.float32)}})
    with pytest.raises(UsageError) as err:
        mask_networks.read_published(path, kind, mean=False)
    assert str(err.value) == f"{path}: {name} is (5, 32); expected (2, 32)"


def learned(folder, kind, **changes):
    clip = training.CLIP
    return mask_training.train(fields(**changes), [clip], folder, devices=1, kind=kind)


@pytest.fixture(scope="module")
def trained(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("head")
    changes = dict(steps=24, learning_rate=1e-3, checkpoint_every=24)
    schedule = dict(decay="power", decay_steps=100, warmup_share=1e-6, mean_share=0.5)
    return learned(folder, kind, **changes, **schedule, mean_after=10), folder


def test_the_published_network_learns(trained):
    """On keys of a backbone with random weights: published ones were not at hand."""
    rows = training.logged(trained[1])
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_it_shows_masks_of_frames(trained, kind):
    frames = training.CLIP.frames
    found = mask_learning.small_masks(
        trained[0], frames, (24, 36), backbone=kind.backbone
    )
    masks = found[3]
    assert masks.shape == (2, 24, 36)
    np.testing.assert_allclose(masks.sum(0), 1, rtol=1e-5)
    keys = mask_learning.keys_of(kind.backbone, frames[3][None])
    assert keys.shape == (1, 4, 7, 11, 64)
    with pytest.raises(ValueError, match="give it the backbone"):
        mask_learning.small_masks(trained[0], frames, (24, 36))
    with pytest.raises(ValueError, match="give it those of the images"):
        mask_learning.masks_of(trained[0], frames[3][None], np.zeros(1), np.ones(1))


def test_keys_that_are_kept_teach_what_keys_of_each_step_do(trained, kind, tmp_path):
    """But for half floats; mirror images have their own."""
    kept = kind._replace(keeps_keys=True)
    learned(tmp_path, kept, steps=3, learning_rate=1e-3)
    exact = tmp_path / "exact"
    learned(exact, kind, steps=3, learning_rate=1e-3)
    a, b = (training.logged(folder) for folder in (tmp_path, exact))
    for one, other in zip(a, b, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=2e-3)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoints", "log.jsonl", "tensorboard", "exact"}


def test_the_running_mean_is_what_is_kept(trained, kind):
    """The state on disk has both; what came back is the mean."""
    model, folder = trained
    newest = max((folder / "checkpoints").iterdir(), key=lambda p: p.name)
    about = json.loads((newest / "meta" / "metadata").read_text())
    names = about["state"].keys()
    assert any(name.startswith("opt_state/mean/") for name in names)
    assert not any("backbone" in name or "blocks" in name for name in names)
    assert len(nnx.to_flat_state(nnx.state(model))) > 20


def test_files_that_are_no_backbone_are_refused(tmp_path, backbone):
    path = tmp_path / "x.pth"
    state = random_state(TINY)
    for change, said in (
        ({"pos_embed": None}, "no weights of DINO: expected patch_embed.proj.weight"),
        ({"pos_embed": np.zeros((1, 12, 64), np.float32)}, "12 positions"),
        ({"blocks.3.norm1.bias": None}, "blocks.3.norm1.bias is missing"),
    ):
        changed = {**state, **change}
        write_pt(path, {k: v for k, v in changed.items() if v is not None})
        with pytest.raises(UsageError, match=said):
            mask_networks.read_dino(path, 4, "float32")
    with pytest.raises(UsageError, match=r"8 blocks of 64 .*expected 10"):
        mask_networks.read_dino(backbone, 5, "float32")
    write_pt(path, {"a": np.zeros(2, np.float32)})
    with pytest.raises(UsageError, match=r"x\.pth: no weights of DINO.*there is a"):
        mask_networks.read_dino(path, 4, "float32")


def test_a_run_folder_or_a_file_are_weights(tmp_path):
    (tmp_path / "network.npz").write_bytes(b"")
    for given in (tmp_path, tmp_path / "network.npz"):
        found = mask_networks.weights_file(str(given))
        assert found == tmp_path / "network.npz"
    with pytest.raises(UsageError, match="expected a run folder of --mode=train"):
        mask_networks.weights_file(str(tmp_path / "none"))


def test_the_variant_official_is_the_published_schedule():
    """Rates and ramp: numbers of the official code; weight decay and clipping."""
    config = cli.load_config(ROOT / "configs/motion_seg.py", "official")
    fields = config.network
    mask_training.check(fields)
    moves = mask_training.optimizer(fields)
    rate = make_schedule(moves)
    published = {
        0: 1.5e-10,
        1: 1.0014933666e-7,
        750: 7.4683594148e-5,
        1500: 1.4873377969e-4,
        20000: 1.3301435314e-4,
    }
    for step, value in published.items():
        assert float(rate(step)) == pytest.approx(value, rel=2e-5)
    assert (moves.weight_decay, moves.clip_norm) == (0.01, 0.01)
    assert (moves.mean_share, moves.mean_after, moves.mean_every) == (0.99, 1500, 10)
    ramp = temporal_ramp(10_000, steps=fields.ramp_steps)
    assert float(ramp) == pytest.approx(0.0634375)
    assert (fields.size_hw, fields.num_masks) == ((192, 352), 4)
    # Nor are masks made any better than they are, to be compared.
    assert not fields.edges and fields.least_motion == 0
    fbms = cli.load_config(ROOT / "configs/motion_seg.py", "fbms+official")
    assert (fields.gaps, fbms.network.gaps) == ((1, 2), (3, 6))


def test_norms_and_queries_do_not_decay(kind):
    names = named_weights(kind.init(jax.random.key(0)))
    still = {name for name in names if re.search(mask_training.STILL, name)}
    assert "queries/queries" in still and "pixels/shared_norm/scale" in still
    assert not any(name.endswith("kernel") for name in still)
    assert "queries/input/bias" not in still  # Biases of layers do, as published.
