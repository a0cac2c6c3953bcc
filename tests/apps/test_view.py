"""The viewer: it answers, it draws, and it says what it lacks."""

import pathlib
import shutil
import socket
import subprocess
import time
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
BUDGETS_MS = (15_000, 40_000, 90_000)
ROOT = pathlib.Path(__file__).resolve().parents[2]


def furnished(num_frames=20):
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 1]], np.float32)
    faces = np.array([[0, 1, 2], [2, 1, 3], [2, 1, 0], [3, 1, 2]], np.int32)
    colors = np.tile(np.uint8([[200, 60, 40]]), (4, 1))
    return make_clip(num_frames).replace(mesh=Mesh(vertices, faces, colors))


@pytest.fixture
def viewer():
    found = view.serve(furnished(), make_table(3, 20), port=0)
    yield found
    found.stop()


def test_the_viewer_answers(viewer):
    with urllib.request.urlopen(f"http://127.0.0.1:{viewer.port}", timeout=20) as page:
        assert page.status == 200 and b"<html" in page.read().lower()


def test_marks_stand_where_objects_were_seen_last_and_fade_out_of_view(viewer):
    table = make_table(3, 20)
    viewer.show(19)
    seen = set(table.track_id[table.frame_idx == 19].tolist())
    marks = {
        i: viewer.server.scene.get_handle_by_name(f"/marks/{i}") for i in (1, 2, 3)
    }
    for i, mark in marks.items():
        rows = np.flatnonzero(table.track_id == i)
        last = np.median(np.array_split(table.location[rows], len(rows) // 5)[-1], 0)
        assert mark.visible
        np.testing.assert_allclose(mark.position, last, atol=1e-5)
        assert (mark.opacity == 1.0) == (i in seen)


def test_playing_moves_on(viewer):
    viewer.play()
    deadline = time.monotonic() + 20
    while viewer.shown <= 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert viewer.shown > 0


def test_a_port_that_is_taken_is_told_in_one_line(viewer):
    with pytest.raises(UsageError, match=str(viewer.port)) as told:
        view.serve(furnished(), make_table(1, 20), port=viewer.port)
    assert "\n" not in str(told.value)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="cannot listen"):
            view.serve(furnished(), make_table(1, 20), port=other.getsockname()[1])


def test_it_draws_points_no_frames_and_no_objects(tmp_path):
    points = np.random.default_rng(0).normal(size=(50, 3))
    bare = make_clip(4).replace(frames=None, labels=None, points=points)
    found = view.serve(bare, make_table(0, 4), port=0)
    found.show(3)
    assert found.shown == 3
    found.stop()


def photograph(url, folder, budget_ms):
    """What a headless browser shows of a page after some of its own time, RGB."""
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader"),
        *("--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--window-size=800,600"),
        f"--virtual-time-budget={budget_ms}",
        f"--user-data-dir={folder / f'profile{budget_ms}'}",
        f"--screenshot={folder / 'view.png'}",
    ]
    command = [str(BROWSER), *flags, url]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    return np.asarray(Image.open(folder / "view.png").convert("RGB")).astype(int)


def share_of_red(picture):
    """The mesh alone is red: the page around it has no such pixel, only orange."""
    red, green, blue = picture.transpose(2, 0, 1)
    return ((red - green > 60) & (abs(green - blue) < 40)).mean()


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_draws_the_scene(viewer, tmp_path):
    url = f"http://127.0.0.1:{viewer.port}"
    # The browser's clock runs ahead of the socket: on a busy machine it needs longer.
    shares = (share_of_red(photograph(url, tmp_path, ms)) for ms in BUDGETS_MS)
    assert any(share > 0.005 for share in shares)


def test_a_clip_without_poses_is_told():
    with pytest.raises(UsageError, match="no camera poses"):
        view.serve(make_clip(4, poses=False), make_table(1, 4), port=0)


def test_a_run_without_tracks_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = ["--config=configs/tracking.py:smoke", f"--workdir={tmp_path / 'run'}"]
    assert cli.main(["launch.py", *words, "--mode=view"]) == 2
    assert "tracks.npz: not there yet" in capsys.readouterr().err
