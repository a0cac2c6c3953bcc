"""The 3D viewer: scene, camera path, frames, object tracks, and a time slider.

A mark stands where its object was seen last, solid while it is in view and faint while
it is only remembered.
"""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from egojax.apps import scene, viewer
from egojax.apps.looks import Look
from egojax.apps.viz import Scribe
from egojax.data import results
from egojax.data.runs import RunFolder
from egojax.errors import FrameError, UsageError
from egojax.task import Task
from egojax.types import Clip, TrackTable

NUM_FRUSTA = 24  # Of the path.
FRAME_WIDTH = 480  # Pixels of the current frame in the scene.
MARK_RADIUS = 0.035  # Metres.
REMEMBERED = 0.5  # Opacity of objects out of view.
NOW_COLOR = (220, 120, 20)


def main(config: Any, task: Task, folder: RunFolder) -> int:
    """Opens the first clip of a run that has tracks; serves it until it is stopped.

    Raises:
      UsageError: no clip has been tracked yet, or see `serve`.
    """
    done = viewer.finished_clips(task, folder, "tracks.npz")
    table = results.read_table(folder.path / "clips" / done[0] / "tracks.npz")
    host, port = config.view.host, config.view.port
    running = serve(task.clips[done[0]](), table, host=host, port=port)
    return viewer.wait(running, host, done)


def serve(
    clip: Clip, table: TrackTable, *, port: int = 8080, host: str = "127.0.0.1"
) -> "Viewer":
    """Starts the viewer, which runs in the background until its `stop`.

    Args:
      clip: With cameras; mesh or points, and frames, are shown if it has them.
      table: The tracks.
      port: 0 takes any free one.
      host: 127.0.0.1 keeps it to this machine.

    Raises:
      UsageError: the extra `viz` is not installed, the clip has no poses, or the port
        is taken.
    """
    path = scene.read_camera_path(clip)
    if path is None:
        raise UsageError(f"{clip.name}: no camera poses, so there is nothing to view")
    return Viewer(viewer.start(host, port), clip, table, path)


class Viewer:
    """A running viewer."""

    def __init__(
        self, server: Any, clip: Clip, table: TrackTable, path: scene.CameraPath
    ):
        self.server = server
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.shown = -1  # The frame that is shown.
        scribe = Scribe(clip, table)
        up = scene.up_direction(path.c2w)
        server.scene.set_up_direction(up)
        layers = {"scene": viewer.add_scene(server, clip)}
        layers["camera path"] = _add_path(server, path, clip.size_hw)
        self._objects = _Objects(server, scene.trails_of(table), scribe.looks.after)
        self._stage = _Stage(server, scribe, path)
        layers |= {"current frame": self._stage.root, **self._objects.groups}
        self._add_controls(clip, layers)
        _place_visitors(server, path, up)
        self.show(0)
        self._clock.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.get_port()

    def show(self, t: int) -> None:
        """Sets the scene to frame t."""
        with self._lock, self.server.atomic():
            if self._stopped.is_set():
                return
            self.shown = t
            seen = self._stage.show(t)
            known = self._objects.show(t, seen)
            self._status.content = (
                f"{len(seen)} objects in view, {known - len(seen)} remembered"
            )

    def play(self, on: bool = True) -> None:
        """Starts or stops playing, as the box does."""
        self._clock.play(on)

    def stop(self) -> None:
        """Ends the viewer and frees its port."""
        self._stopped.set()
        self._clock.stop()
        with self._lock:
            pass  # What is being shown still needs the server.
        self.server.stop()

    def _add_controls(self, clip: Clip, layers: Mapping[str, Any]) -> None:
        gui = self.server.gui
        gui.add_markdown(f"**{clip.name}**")
        self._status = gui.add_markdown("")
        self._clock = viewer.Clock(gui, clip.num_frames, clip.fps, self._follow)
        for title, handle in layers.items():
            if handle is not None:
                box = gui.add_checkbox(title, True)
                box.on_update(viewer.shower(box, handle))

    def _follow(self, t: int) -> None:
        """Shows a frame; what the slider has left behind meanwhile is left out."""
        if t != self.shown:
            self.show(t)


def _add_path(server: Any, path: scene.CameraPath, size_hw: tuple[int, int]) -> Any:
    """Returns the handle of the whole path."""
    root = viewer.add_path(server, path.centers)
    for k in np.unique(np.linspace(0, len(path.c2w) - 1, NUM_FRUSTA).astype(int)):
        viewer.add_frustum(server, str(k), path.c2w[k], path.fov_y, size_hw)
    return root


class _Objects:
    """Trails, marks and names of the tracks."""

    def __init__(self, server: Any, trails: Mapping[int, scene.Trail], look: Look):
        self._trails = trails
        self._state: dict[int, tuple[int, bool]] = {}  # Place on the trail, in view.
        self.groups = {
            name: server.scene.add_frame(f"/{name}", show_axes=False)
            for name in ("trails", "marks", "names")
        }
        self._marks, self._names = {}, {}
        for i, trail in trails.items():
            color, line = look.color[i], viewer.segments(trail.at)
            if len(line):
                server.scene.add_line_segments(
                    f"/trails/{i}", line, color, thickness=0.006
                )
            self._marks[i] = server.scene.add_icosphere(
                f"/marks/{i}", MARK_RADIUS, color, opacity=1.0, visible=False
            )
            self._names[i] = server.scene.add_label(
                f"/names/{i}",
                look.name[i],
                font_screen_scale=0.8,
                anchor="bottom-center",
                visible=False,
            )

    def show(self, t: int, seen: set[int]) -> int:
        """Puts every mark where its object was seen last; returns how many there are.

        Args:
          t: The frame.
          seen: Tracks in view.
        """
        known = 0
        for i, trail in self._trails.items():
            row = int(np.searchsorted(trail.frame_idx, t, side="right")) - 1
            if i in seen:
                row = max(row, 0)  # The first point of a trail is the middle of some.
            known += row >= 0
            if self._state.get(i) == (row, i in seen):
                continue
            self._state[i] = row, i in seen
            at = trail.at[max(row, 0)]
            mark, name = self._marks[i], self._names[i]
            mark.visible = name.visible = row >= 0
            mark.position = name.position = at
            mark.opacity = 1.0 if i in seen else REMEMBERED
        return known


class _Stage:
    """The camera of the current frame, with its picture."""

    def __init__(self, server: Any, scribe: Scribe, path: scene.CameraPath):
        self._scribe, self._path = scribe, path
        height, width = scribe.clip.size_hw
        self.root = server.scene.add_camera_frustum(
            "/now",
            path.fov_y,
            width / height,
            scale=0.25,
            thickness=0.006,
            color=NOW_COLOR,
            format="jpeg",
            cast_shadow=False,
        )

    def show(self, t: int) -> set[int]:
        """Moves to the last pose up to frame t; returns the tracks that it sees."""
        k = int(np.searchsorted(self._path.frame_idx, t, side="right")) - 1
        self.root.wxyz, self.root.position = viewer.pose(self._path.c2w[max(k, 0)])
        self.root.image = self._picture(t)
        return set(self._scribe.tracks(t).values()) - {0}

    def _picture(self, t: int) -> np.ndarray | None:
        if self._scribe.clip.frames is None:
            return None
        sources = self._scribe.clip.sources
        try:
            layers = {name: sources[name][t] for name in self._scribe.layers}
        except FrameError:
            return None
        return self._scribe.after(t, layers, FRAME_WIDTH)


def _place_visitors(server: Any, path: scene.CameraPath, up: np.ndarray) -> None:
    """Starts a visitor behind and above the middle of the path."""
    middle = np.median(path.centers, axis=0)
    ahead = path.c2w[:, :3, 2].mean(0)
    ahead = ahead - (ahead @ up) * up
    ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-9)
    reach = max(1.0, float(np.ptp(path.centers, axis=0).max()))

    @server.on_client_connect
    def _(client: Any) -> None:
        client.camera.up_direction = up
        client.camera.position = middle + 1.1 * reach * up - 0.9 * reach * ahead
        client.camera.look_at = middle + 0.3 * reach * ahead - 0.4 * up
