"""The 3D viewer: scene, camera path, frames, object tracks, and a time slider.

A mark stands where its object was seen last, solid while it is in view and faint while
it is only remembered.
"""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from egojax.apps import scene
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
TICK = 0.1  # Seconds between two frames that are shown while playing.
PATH_COLOR, NOW_COLOR, POINT_COLOR = (40, 90, 200), (220, 120, 20), (150, 150, 150)


def main(task: Task, folder: RunFolder, host: str, port: int) -> int:
    """Opens the first clip of a run that has tracks; serves it until it is stopped.

    Raises:
      UsageError: no clip has been tracked yet, or see `serve`.
    """
    tables = {n: folder.path / "clips" / n / "tracks.npz" for n in task.clips}
    done = [name for name, path in tables.items() if path.exists()]
    if not done:
        raise UsageError(
            f"{next(iter(tables.values()))}: no tracks yet; "
            "run the same command without --mode"
        )
    table = results.read_table(tables[done[0]])
    viewer = serve(task.clips[done[0]](), table, host=host, port=port)
    print(
        f"viewer: http://{host}:{viewer.port} shows {done[0]} (Ctrl-C ends it)",
        flush=True,
    )
    if done[1:]:
        print(f"others: --config.data.clips=NAME, of {', '.join(done[1:])}", flush=True)
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        return 0
    finally:
        viewer.stop()


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
    try:
        import viser
    except ImportError as err:
        raise UsageError(
            'the viewer needs the extra: pip install "egojax[viz]"'
        ) from err
    path = scene.read_camera_path(clip)
    if path is None:
        raise UsageError(f"{clip.name}: no camera poses, so there is nothing to view")
    port = _free_port(host, port)
    # It greets on standard output; we say where it is ourselves.
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=host, port=port, verbose=False)
    return Viewer(server, clip, table, path)


def _free_port(host: str, port: int) -> int:
    """The port itself, or any free one for 0; viser would silently take another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as err:
            raise UsageError(
                f"the viewer cannot listen on {host}:{port} ({err}); "
                "give a free port: --config.view.port=0 takes any"
            ) from None
        return probe.getsockname()[1]


class Viewer:
    """A running viewer."""

    def __init__(
        self, server: Any, clip: Clip, table: TrackTable, path: scene.CameraPath
    ):
        self.server = server
        self._last = clip.num_frames - 1
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.shown = -1  # The frame that is shown.
        self._step = max(1, round(TICK * clip.fps))
        scribe = Scribe(clip, table)
        up = scene.up_direction(path.c2w)
        server.scene.set_up_direction(up)
        server.gui.configure_theme(show_share_button=False, show_logo=False)
        layers = {"scene": _add_scene(server, clip)}
        layers["camera path"] = _add_path(server, path, clip.size_hw)
        self._objects = _Objects(server, scene.trails_of(table), scribe.looks.after)
        self._stage = _Stage(server, scribe, path)
        layers |= {"current frame": self._stage.root, **self._objects.groups}
        self._add_controls(clip, layers)
        _place_visitors(server, path, up)
        self.show(0)
        self._player = threading.Thread(
            target=self._run, name="viewer-play", daemon=True
        )
        self._player.start()

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
        self._playing.value = on

    def stop(self) -> None:
        """Ends the viewer and frees its port."""
        self._stopped.set()
        self._player.join()
        with self._lock:
            pass  # What is being shown still needs the server.
        self.server.stop()

    def _add_controls(self, clip: Clip, layers: Mapping[str, Any]) -> None:
        gui = self.server.gui
        gui.add_markdown(f"**{clip.name}**")
        self._status = gui.add_markdown("")
        most = max(1, self._last)
        self._slider = gui.add_slider("frame", 0, most, 1, 0)
        self._playing = gui.add_checkbox("play", False)
        self._slider.on_update(lambda _: self._follow())
        for title, handle in layers.items():
            if handle is not None:
                box = gui.add_checkbox(title, True)
                box.on_update(_shower(box, handle))

    def _follow(self) -> None:
        """Shows the slider's frame; what it has left behind meanwhile is left out."""
        t = min(int(self._slider.value), self._last)
        if t != self.shown:
            self.show(t)

    def _run(self) -> None:
        """Moves the slider while the box "play" is ticked."""
        while not self._stopped.wait(TICK):
            if self._playing.value:
                t = int(self._slider.value) + self._step
                self._slider.value = t if t <= self._last else 0


def _shower(box: Any, handle: Any) -> Callable[[Any], None]:
    """Shows and hides a part of the scene as its box says."""

    def update(_: Any) -> None:
        handle.visible = box.value

    return update


def _add_scene(server: Any, clip: Clip) -> Any:
    """Returns the handle of the mesh or points, or None without both."""
    if clip.mesh is not None and len(clip.mesh.faces):
        import trimesh

        mesh = trimesh.Trimesh(
            clip.mesh.vertices * clip.metric_scale,
            clip.mesh.faces,
            vertex_colors=clip.mesh.colors,
            process=False,
        )
        return server.scene.add_mesh_trimesh("/scene", mesh, cast_shadow=False)
    surface = scene.surface_points(clip)
    if surface is None:
        return None
    points = surface.points.astype(np.float32)
    return server.scene.add_point_cloud("/scene", points, POINT_COLOR, point_size=0.01)


def _add_path(server: Any, path: scene.CameraPath, size_hw: tuple[int, int]) -> Any:
    """Returns the handle of the whole path."""
    root = server.scene.add_frame("/camera", show_axes=False)
    line = _segments(path.centers)
    if len(line):
        server.scene.add_line_segments(
            "/camera/path", line, PATH_COLOR, thickness=0.005
        )
    for k in np.unique(np.linspace(0, len(path.c2w) - 1, NUM_FRUSTA).astype(int)):
        wxyz, position = _pose(path.c2w[k])
        server.scene.add_camera_frustum(
            f"/camera/{k}",
            path.fov_y,
            size_hw[1] / size_hw[0],
            scale=0.04,
            thickness=0.002,
            color=PATH_COLOR,
            cast_shadow=False,
            wxyz=wxyz,
            position=position,
        )
    return root


def _segments(points: np.ndarray) -> np.ndarray:
    """A polyline as float32 (n - 1, 2, 3)."""
    return np.stack([points[:-1], points[1:]], axis=1).astype(np.float32)


def _pose(c2w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(c2w[:3, :3]).as_quat()
    return np.roll(turn, 1), c2w[:3, 3]


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
            color, line = look.color[i], _segments(trail.at)
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
        self.root.wxyz, self.root.position = _pose(self._path.c2w[max(k, 0)])
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
