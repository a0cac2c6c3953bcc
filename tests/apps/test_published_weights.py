"""A published checkpoint through the launcher: used, or refused in a line."""

import argparse
import pathlib
import pickle

import numpy as np
import pytest
from flax import nnx

from egojax.apps import cli
from egojax.data import arrays, stream_images, weight_files
from egojax.models.nerf import Nerf, NerfConfig
from egojax.models.weights import named_weights
from tests.published_state import state_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = [
    "--config=configs/decomposition.py:smoke+official",
    "--config.world.num_frames=9",
    "--config.world.size_hw=(32,48)",
    "--config.views.num_slots=50",
    "--config.render.frames=test",
    "--config.render.max_frames=1",
    "--config.render.fixed=0",
    "--config.show.summary=False",
    "--config.show.report=False",
]
NETWORK = NerfConfig(width=64, num_slots=50)


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def model() -> Nerf:
    return Nerf(NETWORK, rngs=nnx.Rngs(3))


def checkpoint(path: pathlib.Path, model: Nerf, **options: int) -> pathlib.Path:
    """As the published training leaves it, but for its container."""
    held = argparse.Namespace(**options)
    whole = {"epoch": 9, "state_dict": state_of(model), "hyper_parameters": held}
    path.write_bytes(pickle.dumps(whole))
    return path


def launch(path: pathlib.Path, workdir: pathlib.Path, *words: str) -> int:
    weights = f"--config.train.weights={path}"
    return cli.main(["launch.py", *WORDS, weights, f"--workdir={workdir}", *words])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_is_rendered_and_scored(model, dtype, tmp_path):
    path = checkpoint(tmp_path / "a.ckpt", model, N_samples=8, N_importance=8)
    workdir = tmp_path / "run"
    assert launch(path, workdir, f"--config.nerf.dtype={dtype}") == 0
    folder = workdir / "clips" / "world-0"
    kept = weight_files.read_weights(folder / "fields.npz", "radiance fields")
    expected = named_weights(model)
    assert kept.weights.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(kept.weights[name], value, err_msg=name)
    assert kept.about["sizes"]["dtype"] == dtype
    assert kept.about["sizes"]["num_slots"] == 50
    (shown,) = map(stream_images.read_images, (folder / "streams").iterdir())
    assert shown.rgb.std() > 0
    scores = arrays.read_json(workdir / "metrics.json")
    assert 0 < scores["all"]["held_out"]["psnr"] < 50


def test_other_samples_than_it_was_trained_with_are_refused(model, tmp_path, capsys):
    path = checkpoint(tmp_path / "a.ckpt", model, N_samples=128, N_importance=8)
    assert launch(path, tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: trained with N_samples=128; set config.nerf.N_samples to" in line


def test_a_checkpoint_without_options_is_taken(model, tmp_path):
    path = checkpoint(tmp_path / "a.ckpt", model)
    assert launch(path, tmp_path / "run", "--only=fit") == 0
