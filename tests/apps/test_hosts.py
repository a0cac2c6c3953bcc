"""The launcher started twice, as on two hosts, does what one process does.

Real processes of two devices each; what they leave in the run folder is compared with
what one process of four devices leaves.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

import numpy as np
import pytest

from egojax.apps import cli
from egojax.data import arrays, weight_files
from tests.apps.test_decomposition_run import scene
from tests.train.test_distributed import on_a_free_port, started

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 120.0  # Seconds until a process has begun what it is stopped in.
# A signal that comes within JAX's callback of the garbage collector is lost.
CODE = (
    "import gc, runpy; gc.disable(); "
    f"runpy.run_path({str(ROOT / 'launch.py')!r}, run_name='__main__')"
)
FIELDS = [
    "--config=configs/decomposition.py:smoke",
    "--config.data.name=epic_diff",
    "--config.data.scale=1.0",
    "--config.train.steps=4",
    "--config.train.block=2",
    "--config.train.log_every=2",
    "--config.train.batch_size=32",
    "--config.train.optimizer=sgd",
    "--config.train.learning_rate=0.5",
    *[
        f"--config.grid.{name}=2"
        for name in ("static.levels", "moving.levels", "proposal.levels")
    ],
    "--config.grid.actor_levels=2",
    "--config.grid.width=8",
    "--config.grid.num_proposal=6",
    "--config.grid.num_final=4",
    "--config.render.fixed=0",
    "--config.show.summary=False",
    "--config.show.report=False",
]
TRACKS = [
    "--config=configs/tracking.py:smoke",
    "--mode=train",
    "--config.show.overlay=False",
    "--config.show.report=False",
    "--config.train.steps=2",
    "--config.train.batch_size=8",
]


def hosts(
    port: int, *words: str, own: tuple = ((), ()), at: Sequence = (ROOT, ROOT)
) -> list[subprocess.Popen]:
    """The same command as two hosts start it.

    Args:
      port: Of the first.
      words: Of both.
      own: Words of one of them.
      at: Where each is started.
    """
    joined = [f"--config.hosts.coordinator=localhost:{port}", "--config.hosts.count=2"]
    return [
        started(
            f"import os; os.chdir({str(at[k])!r}); {CODE}",
            [*words, *own[k], *joined, f"--config.hosts.index={k}"],
        )
        for k in (0, 1)
    ]


def together(*words: str, code: int = 0, **each: Sequence) -> list[str]:
    """What both said; both end with this exit code."""
    return on_a_free_port(lambda port: hosts(port, *words, **each), code)


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path, list[str]]:
    """The run folders of two processes and of one; the words of the command."""
    folder = tmp_path_factory.mktemp("hosts")
    words = [*FIELDS, f"--config.data.root={scene(folder / 'P99_01')}"]
    # One process on four devices, which share the tables, too.
    alone = [*words, f"--workdir={folder / 'one'}", "--config.mesh.data=4"]
    alone.append("--config.mesh.shard=_table$")

    def start(port):
        two = hosts(port, *words, f"--workdir={folder / 'two'}")
        return [*two, started(CODE, alone, XLA_FLAGS=os.environ["XLA_FLAGS"])]

    said = on_a_free_port(start)
    assert "P99_01: fit done" in said[0] and "P99_01: render done" in said[0]
    assert "process 1: done" in said[1] and "P99_01" not in said[1]
    return folder / "two", folder / "one", words


def fields_of(run: pathlib.Path) -> dict[str, np.ndarray]:
    return weight_files.read_weights(
        run / "clips" / "P99_01" / "fields.npz", "radiance fields"
    ).weights


def files_of(run: pathlib.Path) -> set[str]:
    """All but what a checkpoint is made of: each process writes its own part."""
    found = (str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return {
        name for name in found if "checkpoints" not in name and "events" not in name
    }


def test_two_hosts_learn_the_fields_that_one_process_learns(runs):
    two, one, _ = runs
    found, expected = fields_of(two), fields_of(one)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


def test_the_fields_moved_far_more_than_they_may_differ(runs):
    """Biases of fresh layers are 0."""
    biases = [np.abs(v).max() for k, v in fields_of(runs[0]).items() if "bias" in k]
    assert biases and np.median(biases) > 1e-3


def test_two_hosts_leave_the_run_folder_of_one_process(runs):
    two, one, _ = runs
    assert files_of(two) == files_of(one)
    about, expected = (arrays.read_json(run / "config.json") for run in (two, one))
    assert about["device"] == expected["device"] == "4 x cpu"
    assert about["config"].pop("hosts")["index"] == 0
    assert [about["config"].pop("mesh")["data"]] == [-1]
    assert about["config"].items() <= expected["config"].items()
    scores, expected = (arrays.read_json(run / "metrics.json") for run in (two, one))
    assert scores["all"]["held_out"]["psnr"] == pytest.approx(
        expected["all"]["held_out"]["psnr"], abs=1e-3
    )


def test_the_same_command_again_does_nothing_on_both(runs):
    two, _, words = runs
    before = (two / "clips" / "P99_01" / "fields.npz").stat().st_mtime_ns
    said = together(*words, f"--workdir={two}")
    assert all("nothing to do" in text for text in said)
    assert (two / "clips" / "P99_01" / "fields.npz").stat().st_mtime_ns == before


def test_what_the_first_refuses_ends_both(runs):
    two, _, words = runs
    other = "--config.train.steps=6"
    said = together(*words, f"--workdir={two}", other, code=2)
    assert "egojax: " in said[0] and "differs first in train.steps" in said[0]
    assert "egojax: process 1: the first one ended with 2" in said[1]


def test_hosts_that_were_told_different_things_are_refused(runs, tmp_path):
    own = ((), ("--config.train.steps=6",))
    workdir = tmp_path / "run"
    said = together(*runs[2], f"--workdir={workdir}", own=own, code=2)
    line = "config.train.steps is 6, 4 at the first process: give all the same"
    assert f"egojax: process 1: {line}" in said[0] and f"egojax: {line}" in said[1]
    assert not workdir.exists()


@pytest.mark.parametrize("lacks", [True, False])
def test_hosts_that_see_different_data_are_refused(runs, tmp_path, lacks):
    """A path that leads to another place on the second host."""
    relative = [w for w in runs[2] if "data.root" not in w] + [
        "--config.data.root=P99_01",
        f"--workdir={tmp_path / 'run'}",
    ]
    places = [tmp_path / name for name in ("first", "second")]
    for place in places:
        scene(place / "P99_01", num=4 if place == places[0] else 3)
    if lacks:
        for image in (places[1] / "P99_01" / "frames").iterdir():
            image.unlink()
    told = "nothing, and says why" if lacks else "other frames"
    said = together(*relative, code=2, at=places)
    assert f"egojax: P99_01: process 1 reads {told}" in said[0]
    assert "egojax: " in said[1]


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_signal_to_one_while_the_first_renders_stops_both(runs, tmp_path, stopped):
    two, _, words = runs
    shutil.copytree(two, tmp_path / "run")
    slowly = ("--config.render.chunk=1", "--config.render.fixed=-1")

    def start(port):
        work = f"--workdir={tmp_path / 'run'}"
        processes = hosts(port, *words, work, "--only=render", *slowly)
        wait_for_stage(tmp_path / "run" / "log.jsonl", "render", 2, processes[0])
        processes[stopped].send_signal(signal.SIGTERM)
        return processes

    said = on_a_free_port(start, code=130)
    assert "interrupted; the same command continues" in said[0]
    assert "process 1: the first one ended with 130" in said[1]


def wait_for_stage(log: pathlib.Path, stage: str, times: int, process) -> None:
    """Until the stage has begun so often, or the process has ended."""
    end = time.monotonic() + LIMIT
    begun = f'"event": "stage_start", "clip": "P99_01", "stage": "{stage}"'
    while process.poll() is None and time.monotonic() < end:
        if log.read_text().count(begun) >= times:
            return
        time.sleep(0.02)


def test_two_hosts_learn_the_weights_of_tracking_as_one_process(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    said = together(*TRACKS, f"--workdir={two}")
    assert "fit: 2 steps done" in said[0] and "process 1: done" in said[1]
    shutil.copytree(two, one, ignore=shutil.ignore_patterns("checkpoints", "*.npz"))
    shutil.copytree(two / "clips", one / "clips", dirs_exist_ok=True)
    assert cli.main(["launch.py", *TRACKS, f"--workdir={one}"]) == 0
    with np.load(two / "weights.npz") as found, np.load(one / "weights.npz") as alone:
        assert set(found) == set(alone) and found["alpha"] != 10.0
        for name in alone:
            np.testing.assert_allclose(
                found[name], alone[name], rtol=0, atol=1e-4, err_msg=name
            )
