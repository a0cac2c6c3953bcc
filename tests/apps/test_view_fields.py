"""The viewer of a decomposition: a tiny run is trained, served, and looked at."""

import os
import pathlib
import re
import socket
import sys
import threading
import time
import urllib.request

import jax
import numpy as np
import pytest

from egojax import tasks
from egojax.apps import cli
from egojax.apps.novel_views import Wish
from egojax.errors import UsageError
from egojax.methods import field_frames, field_scene
from egojax.tasks import trained_fields
from tests.apps.test_view import BROWSER, BUDGETS_MS, photograph

pytest.importorskip("viser")
from egojax.apps import view_fields

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ("--config=configs/decomposition.py:smoke", "--config.train.steps=20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run whose fields have been trained, a little."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    before = pathlib.Path.cwd()
    os.chdir(ROOT)
    words = ["launch.py", *CONFIG, f"--workdir={path}", "--only=fit"]
    assert cli.main(words) == 0
    os.chdir(before)
    return path


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def viewer(folder):
    config = cli.parse([*CONFIG, f"--workdir={folder}"]).config
    task = tasks.make(config, "view", folder)
    path = folder / "clips" / "world-0" / "fields.npz"
    trained = trained_fields.read(config, path)
    found = view_fields.serve(task.clips["world-0"](), trained, port=0)
    yield found
    found.stop()


def launch(folder, *words):
    return cli.main(["launch.py", *CONFIG, f"--workdir={folder}", *words])


def test_the_command_serves_the_page_until_it_is_interrupted(
    folder, monkeypatch, capsys
):
    pages = []

    def look(seconds, sleep=time.sleep):
        if threading.current_thread() is not threading.main_thread():
            return sleep(seconds)
        (url,) = re.findall(r"http://\S+", capsys.readouterr().out)
        with urllib.request.urlopen(url, timeout=20) as page:
            pages.append((page.status, page.read()))
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", look)
    assert launch(folder, "--mode=view", "--config.view.port=0") == 0
    ((status, text),) = pages
    assert status == 200 and b"<html" in text.lower()


def test_what_it_paints_for_a_recorded_camera_is_that_frame(viewer, folder):
    """By the renderer of the job: the same rays of the same fields."""
    config = cli.parse([*CONFIG, f"--workdir={folder}"]).config
    clip = tasks.make(config, "view", folder).clips["world-0"]()
    scene = field_scene.read_places(clip).scene
    trained = trained_fields.read(config, folder / "clips/world-0/fields.npz")
    expected = field_frames.make_renderer(*trained, clip.size_hw)(scene, 5)
    camera = jax.tree.map(lambda leaf: leaf[5], scene.camera)
    tiles = list(viewer.artist.paint(Wish(camera, 5, False), 4))
    found = field_frames.joined(tiles, 4)
    assert expected.rgb.std() > 0.005
    for name, image, own in zip(expected._fields, found, expected, strict=True):
        np.testing.assert_allclose(image, own, rtol=2e-3, atol=2e-4, err_msg=name)


def test_cameras_of_the_path_wear_the_colour_of_their_split(viewer):
    found = {
        row: viewer.server.scene.get_handle_by_name(f"/camera/{row}")
        for row in range(12)
    }
    assert not any(handle is None for handle in found.values())
    split = {}
    for row, handle in found.items():
        split.setdefault(tuple(handle.color), []).append(row)
    # Of 16 frames in order the first is for tests and the eighth for validation.
    assert split[view_fields.COLORS["test"]] == [0]
    assert split[view_fields.COLORS["val"]] == [8]
    assert len(split[view_fields.COLORS["train"]]) == 10


def test_the_slider_of_time_shows_a_frame_and_its_photograph(viewer):
    viewer.show(0)
    assert viewer.shown == 0
    viewer._clock.set(3)
    deadline = time.monotonic() + 20
    while viewer.shown != 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert viewer.shown == 3


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_shows_what_the_fields_show(viewer, tmp_path):
    """The middle of the page has the mean colour of the middle of the picture."""
    scene = field_scene.read_places(viewer._clip).scene
    camera = jax.tree.map(lambda leaf: leaf[viewer.shown], scene.camera)
    (picture,) = viewer.artist.paint(Wish(camera, viewer.shown, False), 1)
    height, width = picture.depth.shape
    middle = picture.rgb[height // 4 : -height // 4, width // 4 : -width // 4]
    expected = 255 * np.clip(middle, 0, 1).mean((0, 1))
    assert expected.min() < 230  # An empty page is white.
    url, gaps = f"http://127.0.0.1:{viewer.port}", []
    for budget in BUDGETS_MS:
        page = photograph(url, tmp_path, budget)
        canvas = page[150:-150, 120 : page.shape[1] // 2 - 40]
        gaps.append(abs(canvas.mean((0, 1)) - expected).max())
        if gaps[-1] < 25:
            return
    raise AssertionError(f"colours differ by {gaps} of 255")


def test_a_port_that_is_taken_is_told_in_one_line(folder, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert launch(folder, "--mode=view", f"--config.view.port={port}") == 2
    told = capsys.readouterr().err.strip()
    assert str(port) in told and "cannot listen" in told and "\n" not in told


def test_a_run_without_fields_is_told_in_one_line(tmp_path, capsys):
    assert launch(tmp_path / "run", "--mode=view") == 2
    told = capsys.readouterr().err.strip()
    assert "fields.npz: not there yet" in told and "\n" not in told


def test_without_viser_the_extra_is_named(viewer, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UsageError, match=r"egojax\[viz\]"):
        view_fields.viewer.start("127.0.0.1", 0)
