"""The viewer: it answers, it draws, and it says what it lacks."""

import pathlib
import shutil
import subprocess
import urllib.request

import numpy as np
import pytest
from PIL import Image

from egojax.apps import cli
from egojax.errors import UsageError
from egojax.types import Mesh
from tests.apps.test_report import make_clip, make_table

pytest.importorskip("viser")
from egojax.apps import view

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def server():
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 1]], np.float32)
    faces = np.array([[0, 1, 2], [2, 1, 3], [2, 1, 0], [3, 1, 2]], np.int32)
    colors = np.tile(np.uint8([[200, 60, 40]]), (4, 1))
    clip = make_clip(20).replace(mesh=Mesh(vertices, faces, colors))
    found = view.serve(clip, make_table(3, 20), port=18080)
    yield found
    found.stop()


def test_the_viewer_answers(server):
    url = f"http://127.0.0.1:{server.get_port()}"
    with urllib.request.urlopen(url, timeout=20) as page:
        assert page.status == 200 and b"<html" in page.read().lower()


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_draws_the_scene(server, tmp_path):
    picture = tmp_path / "view.png"
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader"),
        *("--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--window-size=800,600", "--virtual-time-budget=15000"),
    ]
    url = f"http://127.0.0.1:{server.get_port()}"
    subprocess.run(
        [
            str(BROWSER),
            *flags,
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={picture}",
            url,
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    # A page that draws nothing is one colour with a panel on it.
    assert len(np.unique(pixels // 8, axis=0)) > 100


def test_a_clip_without_poses_is_told():
    with pytest.raises(UsageError, match="no camera poses"):
        view.serve(make_clip(4, poses=False), make_table(1, 4), port=18090)


def test_a_run_without_tracks_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = ["--config=configs/tracking.py:smoke", f"--workdir={tmp_path / 'run'}"]
    assert cli.main(["launch.py", *words, "--mode=view"]) == 2
    assert "no tracks yet" in capsys.readouterr().err
