"""The report and the overlay: complete, self-contained, whatever the clip lacks."""

import html.parser
import pathlib

import av
import numpy as np
import pytest

from egojax.apps import report, scene, timeline, viz
from egojax.apps.looks import looks_of, nth_color
from egojax.types import Camera, Clip, SkippedFrame, Source, TrackTable

SIZE_HW = (48, 80)


def make_table(num_objects: int, num_frames: int, seed: int = 0) -> TrackTable:
    """Objects that are seen half of the time, under a new 2D id each ten frames."""
    rng = np.random.default_rng(seed)
    rows = [
        (t, k)
        for t in range(num_frames)
        for k in range(num_objects)
        if rng.random() < 0.5
    ]
    t, k = np.array(rows, int).reshape(-1, 2).T
    return TrackTable(
        frame_idx=t.astype(np.int32),
        segment_id=(1 + k * 1000 + t // 10).astype(np.int64),
        track_id=(k + 1).astype(np.int32),
        category=(k % 2).astype(np.int32),
        score=np.ones(len(t), np.float32),
        confidence=rng.random(len(t)).astype(np.float32),
        location=rng.normal(size=(len(t), 3)).astype(np.float32),
        centroid_xy=rng.uniform(5, 40, (len(t), 2)).astype(np.float32),
        area=np.full(len(t), 60, np.int32),
    )


def make_clip(num_frames: int, poses: bool = True, name: str = "clip") -> Clip:
    frame = np.full((*SIZE_HW, 3), 90, np.uint8)
    labels = np.zeros(SIZE_HW, np.int32)
    labels[10:20, 10:20] = 1
    w2c = np.eye(4)
    w2c[:3, 3] = (0.0, 0.0, 2.0)
    camera = Camera(np.diag([50.0, 50.0, 1.0]), w2c, size_hw=SIZE_HW)
    return Clip(
        name=name,
        frame_ids=tuple(f"f{t}" for t in range(num_frames)),
        size_hw=SIZE_HW,
        category_names=("mug", "pan & lid"),
        frames=Source(lambda t: frame, num_frames),
        labels=Source(lambda t: labels, num_frames),
        camera=Source(lambda t: camera, num_frames) if poses else None,
        notes=("made for a test",),
    )


class Page(html.parser.HTMLParser):
    """Headings, and whatever would be fetched."""

    def __init__(self, text: str):
        super().__init__()
        self.headings: list[str] = []
        self.fetched: list[str] = []
        self._in_heading = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._in_heading = tag == "h2"
        for key, value in attrs:
            if key in ("src", "href") and not str(value).startswith(("data:", "#")):
                self.fetched.append(value)

    def handle_data(self, data):
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


def write(path: pathlib.Path, clip: Clip, table: TrackTable, **options) -> str:
    options = {"scores": {}, **options}
    report.write_report(path, clip=clip, table=table, **options)
    return path.read_text()


NUMBERS = {
    "HOTA": 0.5,
    "IDF1": 0.6,
    "IDSW": 7,
    "gap_edges": [1, 30],
    "num_returns_by_gap": [3, 2],
    "identity_survival_by_gap": [0.5, 0.0],
}


def test_a_full_report_has_all_its_parts_and_fetches_nothing(tmp_path):
    after = {**NUMBERS, "IDF1": 0.9, "IDSW": 1}
    text = write(
        tmp_path / "r.html",
        make_clip(40),
        make_table(5, 40),
        scores={"before": NUMBERS, "after": after},
        skipped=[("observe", SkippedFrame(3, "torn <file>"))],
        config={"seed": 1, "data": {"name": "x"}},
    )
    page = Page(text)
    for heading in (
        *("Scores", "Identities over time", "Where things are", "Identity survival"),
        *("Before and after", "Links", "Objects", "Frames left out", "Details"),
    ):
        assert heading in page.headings
    assert page.fetched == []
    assert "+30.0" in text and "torn &lt;file&gt;" in text and "pan &amp; lid" in text
    assert "data.name = " in text and "made for a test" in text


def test_without_truth_and_poses_it_says_so(tmp_path):
    text = write(tmp_path / "r.html", make_clip(20, poses=False), make_table(3, 20))
    headings = Page(text).headings
    assert "nothing is scored" in text
    assert "Where things are" not in headings and "Objects" in headings


def test_no_object_at_all_is_a_report_too(tmp_path):
    text = write(tmp_path / "r.html", make_clip(5), make_table(0, 5))
    assert "No object was seen" in text


def test_many_objects_and_frames_stay_small(tmp_path):
    table = make_table(500, 200)
    text = write(tmp_path / "r.html", make_clip(200), table)
    assert len(text) < 4_000_000


def test_a_hostile_name_stays_text(tmp_path):
    clip = make_clip(3, name="<script>alert(1)</script>")
    assert "<script>" not in write(tmp_path / "r.html", clip, make_table(1, 3))


def test_the_overlay_has_every_frame_side_by_side(tmp_path):
    clip, table = make_clip(7), make_table(2, 7)
    assert viz.write_overlay(tmp_path / "o.mp4", clip, table, width=160) == []
    with av.open(str(tmp_path / "o.mp4")) as video:
        frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    assert len(frames) == 7 and frames[0].shape[1] >= 320
    assert frames[0].std() > 1


def test_colours_last_and_differ(tmp_path):
    table = make_table(12, 30)
    looks = looks_of(table, ("mug", "pan"))
    assert looks.after.color[3] == nth_color(2)
    assert len({looks.after.color[k] for k in range(1, 13)}) == 12
    assert looks.after.name[1] == "mug 1"


def test_runs_of_the_timeline_cover_what_was_seen():
    table = make_table(4, 50)
    made = timeline.make_timeline(table, table.track_id, 50)
    for row in made.rows:
        seen = np.unique(table.frame_idx[table.track_id == row.key])
        drawn = np.concatenate([np.arange(r.start, r.stop) for r in row.after])
        np.testing.assert_array_equal(drawn, seen)


def test_links_are_where_a_track_changes_its_2d_id():
    table = make_table(1, 40)
    links = timeline.find_links(table)
    assert len(links) == len(np.unique(table.segment_id)) - 1
    assert all(table.track_id[link.row_after] == link.track for link in links)


def test_up_is_found_from_a_level_head():
    rng = np.random.default_rng(0)
    poses = []
    for angle in rng.uniform(0, 6.28, 50):
        forward = np.array([np.cos(angle), np.sin(angle), -0.4])
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        poses.append(np.stack([right, np.cross(forward, right), forward], 1))
    c2w = np.tile(np.eye(4), (50, 1, 1))
    c2w[:, :3, :3] = poses
    assert scene.up_direction(c2w) @ [0, 0, 1] == pytest.approx(1.0, abs=0.02)
