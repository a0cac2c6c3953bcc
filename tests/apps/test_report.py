"""The report and the overlay: complete, self-contained, whatever the clip lacks."""

import dataclasses
import html.parser
import pathlib
import re

import av
import numpy as np
import pytest

from egojax.apps import charts, figures, looks, report, scene, timeline, viz
from egojax.apps.looks import Look, looks_of, nth_color
from egojax.errors import FrameError
from egojax.types import Boxes, Camera, Clip, SkippedFrame, Source, TrackTable

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


def test_colours_differ_to_every_kind_of_eye():
    """Any ten neighbours of the palette, with and without red and green cones."""
    linear = ((looks.palette() / 255 + 0.055) / 1.055) ** 2.4
    for matrix in (np.eye(3), looks.PROTANOPIA, looks.DEUTERANOPIA):
        seen = np.clip(linear @ matrix.T, 0, 1)
        for first in range(looks.NUM_COLORS - 10):
            lab = looks._oklab_from_linear(seen[first : first + 10])
            gaps = np.linalg.norm(lab[:, None] - lab, axis=-1) + 9 * np.eye(10)
            assert gaps.min() > 0.035, (matrix, first)


def test_the_first_2d_id_has_its_tracks_colour_and_later_ones_do_not():
    table = make_table(60, 40)
    both = looks_of(table, ("mug", "pan"))
    for track in range(1, 61):
        ids = table.segment_id[table.track_id == track]
        own = both.after.color[track]
        assert both.before.color[int(ids[0])] == own
        assert all(
            both.before.color[int(i)] != own for i in np.unique(ids[ids != ids[0]])
        )


def test_a_segment_is_filled_outlined_and_the_rest_left_as_it_was():
    frame = np.full((*SIZE_HW, 3), 90, np.uint8)
    labels = np.zeros(SIZE_HW, np.int32)
    labels[10:30, 10:40] = 7
    labels[35:45, 60:70] = 8  # Not in the table.
    look = Look({1: (250, 20, 20)}, {})
    out = viz.draw_segments(frame, labels, {7: 1}, look, width=SIZE_HW[1])
    inside = (1 - viz.FILL) * 90 + viz.FILL * np.array([250, 20, 20])
    np.testing.assert_allclose(out[20, 25], inside, atol=1)
    assert out[10, 25, 0] > 200 and out[10, 25, 1] < 90
    np.testing.assert_array_equal(out[35:45, 60:70], frame[35:45, 60:70])
    np.testing.assert_array_equal(out[20, 60], frame[20, 60])
    np.testing.assert_array_equal(frame, 90)


def test_boxes_are_drawn_where_there_are_no_labels():
    frame = np.full((*SIZE_HW, 3), 90, np.uint8)
    boxes = Boxes(np.array([3]), np.array([[20.0, 10, 50, 30]]), np.ones(1))
    look = Look({1: (20, 250, 20)}, {1: "mug 1"})
    out = viz.draw_segments(frame, None, {3: 1}, look, boxes=boxes, width=SIZE_HW[1])
    assert out[20, 20, 1] > 200 and (out[20, 35] == 90).all()


def test_a_frame_that_cannot_be_read_is_shown_as_such_and_told(tmp_path):
    clip = make_clip(5)

    def read(t):
        if t == 2:
            raise FrameError("torn.jpg: not a readable image")
        return clip.frames[t]

    torn = clip.replace(frames=Source(read, 5))
    skipped = viz.write_overlay(tmp_path / "o.mp4", torn, make_table(2, 5), width=160)
    assert skipped == [SkippedFrame(2, "torn.jpg: not a readable image")]
    with av.open(str(tmp_path / "o.mp4")) as video:
        assert len(list(video.decode(video=0))) == 5


def test_shares_that_are_not_known_leave_a_gap_in_the_curve():
    after = {**NUMBERS, "identity_survival_by_gap": [None, 1.0]}
    text = charts.survival_figure({"before": NUMBERS, "after": after}, 30.0)
    assert text.count("point before") == 2 and text.count("point after") == 1
    assert "nan" not in text.lower()


def test_a_flickering_timeline_gets_wider_columns_until_it_is_small(monkeypatch):
    table = make_table(4, 2000)
    fine = timeline.make_timeline(table, table.track_id, 2000)
    monkeypatch.setattr(timeline, "MOST_RUNS", 1500)
    coarse = timeline.make_timeline(table, table.track_id, 2000)
    assert coarse.num_columns < fine.num_columns == timeline.MOST_COLUMNS
    assert sum(len(r.before) + len(r.after) for r in coarse.rows) <= 1500
    for row in coarse.rows:
        for run in row.before:
            frames = table.frame_idx[table.segment_id == run.id]
            columns = (frames / coarse.frames_per_column).astype(int)
            assert run.start >= columns.min() and run.stop <= columns.max() + 1


def test_objects_are_summed_up_as_by_hand():
    frames = np.array([0, 1, 5, 6, 6], np.int32)
    table = dataclasses.replace(
        make_table(1, 40),
        frame_idx=frames,
        segment_id=np.array([9, 9, 4, 4, 8]),
        track_id=np.array([1, 1, 1, 1, 0], np.int32),
        confidence=np.array([1, 1, 0.25, 1, 1], np.float32),
    )
    links = timeline.find_links(table)
    assert links == [timeline.Link(1, 1, 2, 0.25)]
    (one,) = timeline.summarize_objects(table, links)
    assert one == timeline.ObjectSummary(1, 4, 0, 6, (9, 4), 3, 0.25)


def test_the_map_puts_places_where_they_are():
    """Seen from above, x to the right and y away: as in the world, in metres."""
    w2c = np.eye(4)
    path = scene.CameraPath(np.arange(2), np.stack([w2c, w2c]), 1.0)
    at = {1: [[0.0, 0, 0]], 2: [[2.0, 0, 0]], 3: [[2.0, 1, 5]]}
    trails = {i: scene.Trail(np.array([0]), np.array(p)) for i, p in at.items()}
    look = Look(dict.fromkeys(at, (9, 9, 9)), {i: f"t{i}" for i in at})
    up = np.array([0.0, 0, 1])
    text = figures.map_figure(path, trails, look, None, up)
    found = {
        int(i): np.array([float(x), float(y)])
        for i, x, y in re.findall(
            r"<title>t(\d)</title><path class=\"dot rim\" d=\"M([\d.-]+) ([\d.-]+)h0",
            text,
        )
    }
    axes = scene.level_axes(up)
    for i, j in ((1, 2), (2, 3)):
        step = axes @ (np.array(at[j][0]) - at[i][0])
        np.testing.assert_allclose(found[j] - found[i], step[:2] * [1, -1], atol=2e-3)
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_a_better_number_is_marked_better(tmp_path):
    after = {**NUMBERS, "HOTA": 0.4, "IDF1": 0.9, "IDSW": 1}
    scores = {"before": NUMBERS, "after": after}
    text = write(tmp_path / "r.html", make_clip(9), make_table(2, 9), scores=scores)
    assert '<td class="better">+30.0</td>' in text
    assert '<td class="better">&minus;6</td>' in text
    assert '<td class="worse">&minus;10.0</td>' in text


def test_the_command_that_made_it_is_told(tmp_path):
    options = {"command": "python launch.py --config=a&b", "machine": {"device": "cpu"}}
    text = write(tmp_path / "r.html", make_clip(3), make_table(1, 3), **options)
    assert "--config=a&amp;b --mode=view" in text and "device = " in text
