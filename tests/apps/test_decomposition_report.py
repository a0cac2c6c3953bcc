"""The report of a decomposition: complete and self-contained, whatever is missing."""

import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from egojax.apps import decomposition_report, field_strips
from egojax.errors import FrameError, UsageError
from egojax.types import SkippedFrame, Source
from tests.rendered_clips import (
    SIZE_HW,
    make_clip,
    make_images,
    write_numbers,
    write_streams,
)

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(html.parser.HTMLParser):
    """Headings, captions of pictures, and whatever would be fetched."""

    def __init__(self, text: str):
        super().__init__()
        self.headings: list[str] = []
        self.captions: list[str] = []
        self.fetched: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._tag = tag
        for key, value in attrs:
            if key in ("src", "href") and not str(value).startswith(("data:", "#")):
                self.fetched.append(value)

    def handle_data(self, data):
        kept = {"h2": self.headings, "figcaption": self.captions}.get(self._tag)
        if kept is not None:
            kept.append(data)
        self._tag = ""


def write(folder, clip, **options) -> str:
    path = folder / "report.html"
    decomposition_report.write_report(path, clip=clip, folder=folder, **options)
    return path.read_text()


def without_pictures(text: str) -> str:
    return re.sub("base64,[A-Za-z0-9+/=]*", "", text)


def full_folder(folder, clip, num_streams=3):
    write_streams(folder / "streams", clip, list(range(9)), num_streams)
    write_streams(folder / "fixed", clip, [0, 4, 8], num_streams)
    write_streams(folder / "views", clip, [0, 1], num_streams)
    write_numbers(folder, clip)


def test_a_full_report_has_all_its_parts_and_fetches_nothing(tmp_path):
    clip = make_clip()
    full_folder(tmp_path, clip)
    text = write(
        tmp_path,
        clip,
        config={"seed": 1, "field": {"kind": "x<y"}},
        machine={"device": "cpu"},
        command="python launch.py --config=a&b",
        skipped=[("render", SkippedFrame(3, "torn <file>"))],
    )
    page = Page(text)
    assert page.headings == [
        *("Scores", "Key frames", "Over time", "One viewpoint over time"),
        *("The static scene", "Training", "Frames left out", "Details"),
    ]
    assert page.fetched == []
    assert "24.50" in text and "73.1" in text and "39 steps in 61 s" in text
    assert "torn &lt;file&gt;" in text and "x&lt;y" in text and "made for a" in text
    assert "--config=a&amp;b --mode=view" in text
    assert "that of f002" in text and "nan" not in without_pictures(text).lower()


def test_key_frames_are_held_out_and_the_worst_is_among_them(tmp_path):
    clip = make_clip()
    full_folder(tmp_path, clip)
    text = write(tmp_path, clip)
    shown = re.findall("<h3>(f[0-9]+), ", text.split("<h2>Over time")[0])
    assert shown == ["f000", "f003", "f006"]
    assert "PSNR 20.00 dB, AP 70.0, the worst PSNR" in text
    captions = Page(text).captions
    assert captions.count("mask against truth") == 2  # Frame 3 has no true mask.


def test_the_groups_of_a_benchmark_have_a_table(tmp_path):
    clip = make_clip()
    full_folder(tmp_path, clip)
    path = tmp_path / "scores.json"
    scores = json.loads(path.read_text())
    scores["names"]["udos"] = {"mAP_dynamic": 0.555, "mAP_semi_static": None}
    scores["names"]["nvs_within_action"] = {"psnr": 22.22, "psnr_foreground": 18.81}
    path.write_text(json.dumps(scores))
    text = write(tmp_path, clip)
    part = text.split("<h2>EPIC Fields")[1].split("<h2>")[0]
    assert part.count("<tr") == 3  # Heads, new views, UDOS.
    for told in ("within action", "UDOS", "22.22", "18.81", "psnr_foreground"):
        assert told in part
    assert "psnr_background" not in part  # No group has it.


def test_that_held_out_frames_were_placed_is_told(tmp_path):
    clip = make_clip()
    full_folder(tmp_path, clip)
    assert "placed by their own" not in write(tmp_path, clip)
    (tmp_path / "fit" / "placing").mkdir()
    assert "placed by their own" in write(tmp_path, clip)


@pytest.mark.parametrize("num_streams", [1, 2])
def test_baselines_show_the_streams_that_they_have(tmp_path, num_streams):
    clip = make_clip()
    full_folder(tmp_path, clip, num_streams)
    captions = Page(write(tmp_path, clip)).captions
    assert "actor part" not in captions
    assert ("moving part" in captions) == (num_streams == 2)


def test_an_empty_folder_is_a_report_too(tmp_path):
    text = write(tmp_path, make_clip(annotated=False))
    page = Page(text)
    assert page.headings == ["Scores", "Frames left out", "Details"]
    assert "Nothing was scored" in text


def test_without_truth_and_held_out_frames_it_says_so(tmp_path):
    clip = make_clip(annotated=False).replace(views=None)
    write_streams(tmp_path / "streams", clip, [1, 2])
    scores = {"names": {"train": {"psnr": 21.0, "mAP": None}}}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    text = write(tmp_path, clip)
    assert "No frame was held out" in text and "masks are not scored" in text
    assert "PSNR, dB (trained on)" in text
    assert "against truth" not in text


def test_a_torn_photograph_does_not_stop_the_report(tmp_path):
    clip = make_clip()
    full_folder(tmp_path, clip)

    def read(t):
        if t == 0:
            raise FrameError("torn")
        return clip.frames[t]

    text = write(tmp_path, clip.replace(frames=Source(read, 9)))
    assert "<h3>f000, " not in text.split("One viewpoint")[0]
    assert "<h3>f006, " in text


def test_a_hostile_name_stays_text(tmp_path):
    clip = make_clip(name="<script>alert(1)</script>")
    full_folder(tmp_path, clip)
    about = json.loads((tmp_path / "scores.json").read_text())
    about["about"]["fixed_frame"] = "<script>"
    about["names"]["train"]["<script>"] = 1.0
    (tmp_path / "scores.json").write_text(json.dumps(about))
    assert "<script>" not in write(tmp_path, clip)


@pytest.mark.parametrize(
    "text", ["[1]", '{"names": 3}', '{"names": {"train": 3}}', '{"frames": []}']
)
def test_damaged_scores_are_told_in_a_line(tmp_path, text):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(UsageError, match=r"scores.json: no scores; --only=score"):
        write(tmp_path, make_clip())


def test_the_tiles_of_a_frame_are_its_streams(tmp_path):
    photo = np.full((*SIZE_HW, 3), 90, np.uint8)
    images, truth = make_images(4), np.zeros(SIZE_HW, bool)
    tiles = {caption: p for p, caption in field_strips.key_tiles(photo, images, truth)}
    assert len(tiles) == 10
    actor = (np.minimum(images.parts[2], 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(tiles["actor part"], actor)
    weight = (np.minimum(images.masks[1:].sum(0), 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(tiles["weight of moving + actor"][..., 1], weight)


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_it_within_the_width_of_the_page(tmp_path, width):
    """What would run over the edge would change the background there."""
    clip = make_clip()
    full_folder(tmp_path, clip)
    write(tmp_path, clip)
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--disable-background-networking", "--no-first-run", "--disable-sync"),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},6000",
        f"--screenshot={tmp_path / 'page.png'}",
    ]
    command = [str(BROWSER), *flags, (tmp_path / "report.html").as_uri()]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    shown = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    assert shown.shape[1] == width
    ground = shown[2, 2]
    rim = np.concatenate([shown[:, :8], shown[:, -8:]], axis=1)
    np.testing.assert_array_equal(rim, np.broadcast_to(ground, rim.shape))
    assert (abs(shown - ground).sum(-1) > 30).mean() > 0.1
