"""`--mode=train` through the launcher: fit, predict, resume, and what is refused."""

import json
import pathlib

import numpy as np
import pytest

from egojax.apps import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = [
    "launch.py",
    "--config=configs/tracking.py:smoke",
    "--config.world.size_hw=(48, 80)",
    "--config.show.overlay=False",
    "--config.show.report=False",
    "--config.train.steps=4",
    "--config.train.batch_size=8",
]


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("runs") / "trained"
    clips = "--config.data.clips=0-1"
    assert cli.main([*SMOKE, clips, "--mode=train", f"--workdir={path}"]) == 0
    return path


def launch(workdir: pathlib.Path, *words: str) -> int:
    return cli.main([*SMOKE, f"--workdir={workdir}", *words])


def tracks_of(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(workdir / "clips" / "world-0" / "tracks.npz") as table:
        return {key: table[key] for key in table.files}


def test_training_writes_weights_and_predicts_with_them(trained, tmp_path):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert set(metrics["clips"]) == {"world-0", "world-1"}
    weights = f"--config.assoc.weights={trained / 'weights.npz'}"
    assert launch(tmp_path / "again", weights) == 0
    before, after = tracks_of(trained), tracks_of(tmp_path / "again")
    for name, column in before.items():
        np.testing.assert_array_equal(column, after[name], err_msg=name)
    with np.load(trained / "weights.npz") as learned:
        assert learned["alpha"] != 10.0 and (learned["feature_scale"] != 1.0).any()


def test_the_same_command_again_trains_no_step(trained, capsys):
    before = (trained / "weights.npz").read_bytes()
    clips = "--config.data.clips=0-1"
    assert launch(trained, clips, "--mode=train") == 0
    assert (trained / "weights.npz").read_bytes() == before
    out = capsys.readouterr().out
    assert "nothing to do" in out


def test_a_run_that_has_learned_goes_on_with_what_it_learned(trained, capsys):
    before = tracks_of(trained)
    clips = "--config.data.clips=0-1"
    assert launch(trained, clips) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert launch(trained, clips, "--only=track,labels,score,show") == 0
    for name, column in tracks_of(trained).items():
        np.testing.assert_array_equal(column, before[name], err_msg=name)
    assert launch(trained, clips, "--config.assoc.alpha=5.0") == 2
    assert "differs first in assoc.alpha" in capsys.readouterr().err


def test_learned_weights_can_be_learned_on(trained, tmp_path):
    weights = f"--config.assoc.weights={trained / 'weights.npz'}"
    more = tmp_path / "more"
    assert launch(more, weights, "--mode=train", "--config.train.steps=1") == 0
    with np.load(trained / "weights.npz") as a, np.load(more / "weights.npz") as b:
        for name in ("alpha", "feature_scale"):
            # One step of at most the learning rate, from where the first run ended.
            assert (np.abs(np.log(b[name] / a[name])) < 0.021).all()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--shard=0/2"], "takes no --shard"),
        (["--only=score"], "takes no --shard and no --only"),
        (["--config.assoc.mode=offline"], "learned for online and lagged"),
        (["--config.assoc.mode=official"], "learned for online and lagged"),
        (["--config.train.batch_size=0"], "train.batch_size=0"),
        (["--config.train.learning_rate=-1"], "learning_rate=-1"),
        (["--config.features.name=none"], "nothing to learn from"),
        (["--config.assoc.location_cap=inf"], "location_cap = inf"),
    ],
)
def test_what_cannot_be_trained_is_told(words, told, tmp_path, capsys):
    few = "--config.world.num_frames=2"
    assert launch(tmp_path / "run", "--mode=train", few, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def spoiled(name: str, value) -> dict[str, np.ndarray]:
    from egojax.tasks.assoc_config import FIELDS

    columns = {k: np.float32(1.0) for k in FIELDS}
    columns["feature_scale"] = np.ones(32, np.float32)
    if value is None:
        del columns[name]
    else:
        columns[name] = value
    return columns


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("alpha", None, "no alpha"),
        ("feature_scale", None, "no feature_scale"),
        ("alpha", np.float32(np.nan), "alpha is not a number"),
        ("beta_s", np.float32(-1), "beta_s is not a number"),
        ("beta_c", np.ones(3, np.float32), "beta_c is not a number"),
        ("location_cap", np.array("wide"), "location_cap is not a number"),
        ("feature_scale", np.ones(5, np.float32), "features of length 5"),
        ("feature_scale", np.ones((2, 2), np.float32), "feature_scale is not"),
    ],
)
def test_bad_weights_are_told(name, value, told, tmp_path, trained, capsys):
    path = tmp_path / "w.npz"
    np.savez(path, **spoiled(name, value))
    words = [f"--config.assoc.weights={path}", "--config.world.num_frames=2"]
    assert launch(tmp_path / "run", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line and "w.npz" in line


@pytest.mark.parametrize(
    "word", ["--config.assoc.weights=w.npz", "--config.assoc.alpha=5"]
)
def test_offline_refuses_weights_that_it_would_not_read(word, tmp_path, capsys):
    assert launch(tmp_path / "run", "--config.assoc.mode=offline", word) == 2
    assert "weighs its evidence by itself" in capsys.readouterr().err
