"""The summary videos: which frames, in which order, under which name."""

import av
import numpy as np
import pytest

from egojax.apps import field_frames, field_video
from egojax.apps.field_frames import Moment
from egojax.data.stream_images import write_images
from egojax.errors import FrameError, UsageError
from egojax.types import SkippedFrame, Source
from tests.rendered_clips import SIZE_HW, make_clip, make_images, write_streams


def frames_of(path):
    with av.open(str(path)) as video:
        rate = video.streams.video[0].average_rate
        return [f.to_ndarray(format="rgb24") for f in video.decode(video=0)], rate


def test_the_summary_has_all_rendered_frames_ten_a_second(tmp_path):
    clip = make_clip()
    write_streams(tmp_path / "streams", clip, [0, 1, 2, 5, 8])
    write_streams(tmp_path / "fixed", clip, [0, 4])
    told = []
    skipped = field_video.write_summary(
        tmp_path / "summary.mp4",
        clip,
        tmp_path,
        width=64,
        progress=lambda done, total: told.append((done, total)),
    )
    frames, rate = frames_of(tmp_path / "summary.mp4")
    assert len(frames) == 5 and rate == 10 and skipped == []
    assert told == [(n, 5) for n in range(1, 6)]
    assert frames[0].shape[1] == 5 * 64 + 4 * field_frames.GAP


def test_a_photograph_that_is_torn_is_told_and_the_rest_shown(tmp_path):
    clip = make_clip(3)

    def read(t):
        if t == 1:
            raise FrameError("torn.jpg: not a readable image")
        return clip.frames[t]

    write_streams(tmp_path / "streams", clip, [0, 1, 2])
    torn = clip.replace(frames=Source(read, 3))
    path = tmp_path / "summary.mp4"
    skipped = field_video.write_summary(path, torn, tmp_path, width=64)
    assert skipped == [SkippedFrame(1, "torn.jpg: not a readable image")]
    assert len(frames_of(path)[0]) == 3


def test_the_published_video_has_the_times_of_both_views_and_its_name(tmp_path):
    clip = make_clip()
    own = write_streams(tmp_path / "streams", clip, [0, 2, 4, 6])
    write_streams(tmp_path / "fixed", clip, [0, 4, 6, 8])
    path = field_video.write_official_summary(tmp_path, clip, fixed_frame="f002")
    assert path == tmp_path / "official" / "summary" / "cat-f002-N3.mp4"
    frames, rate = frames_of(path)
    assert len(frames) == 3 and rate == 10
    assert frames[0].shape == (2 * SIZE_HW[0], 5 * SIZE_HW[1], 3)
    expected = field_frames.official_frame(Moment(clip.frames[4], own[2], own[2]))
    gaps = [np.abs(frame.astype(float) - expected).mean() for frame in frames]
    assert gaps[1] == min(gaps) and gaps[1] < 25  # Noise, as H.264 keeps it.


def test_a_subset_of_the_published_video_is_every_nth(tmp_path):
    clip = make_clip()
    for part in ("streams", "fixed"):
        write_streams(tmp_path / part, clip, list(range(9)))
    path = field_video.write_official_summary(
        tmp_path, clip, fixed_frame="f002", num_samples=3
    )
    assert path is not None and path.name == "cat-f002-N3.mp4"


def test_without_a_fixed_view_there_is_no_published_video(tmp_path):
    clip = make_clip(3)
    write_streams(tmp_path / "streams", clip, [0, 1, 2])
    path = field_video.write_official_summary(tmp_path, clip, fixed_frame="f002")
    assert path is None and not (tmp_path / "official").exists()


def test_nothing_rendered_and_another_size_are_told_in_a_line(tmp_path):
    clip = make_clip(3)
    with pytest.raises(UsageError, match="no rendered frame of clip in streams/"):
        field_video.write_summary(tmp_path / "s.mp4", clip, tmp_path)
    (tmp_path / "streams").mkdir()
    write_images(tmp_path / "streams" / "f001.npz", make_images(0, size_hw=(6, 8)))
    with pytest.raises(UsageError, match=r"f001.npz: 8 x 6 pixels; .* 20 x 12"):
        field_video.write_summary(tmp_path / "s.mp4", clip, tmp_path)
    assert not (tmp_path / "s.mp4").exists()
