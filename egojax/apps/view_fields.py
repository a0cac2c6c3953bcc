"""The 3D viewer of a decomposition: novel views, painted from the trained fields.

Whoever moves the camera sees the fields from there, behind the camera path and the
scene's points, at the time of the slider. Clicking a camera of the path goes to it.
"""

import functools
import threading
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from egojax.apps import scene, viewer
from egojax.apps.field_frames import enlarged
from egojax.apps.field_painter import Painter, Painting
from egojax.apps.novel_views import FieldArtist, Wish, layer, layer_names, pinhole
from egojax.data.runs import RunFolder
from egojax.errors import FrameError
from egojax.methods import field_frames, field_scene
from egojax.methods.field_scene import SceneFrames
from egojax.task import Task
from egojax.tasks import trained_fields
from egojax.tasks.trained_fields import FIELDS, TrainedFields
from egojax.types import Camera, Clip

MOST_FRUSTA = 40  # Of each split.
COLORS = {"train": (40, 90, 200), "val": (235, 140, 20), "test": (20, 160, 90)}
SIZES = {"quarter": 1, "half": 2, "full": 4, "double": 8}  # Tiles along each side.
DEPTH = 4.0  # Metres that a scene of unknown scale is shown deep.
CLIP_NEAR = 0.25  # Metres; cameras of the path that are nearer hide no view.

WAITING = "The first picture is being prepared."


def main(config: Any, task: Task, folder: RunFolder) -> int:
    """Opens the first clip of a run that has fields; serves it until it is stopped.

    Raises:
      UsageError: no clip has been trained yet, or see `serve`.
    """
    done = viewer.finished_clips(task, folder, FIELDS)
    path = folder.path / "clips" / done[0] / FIELDS
    trained = trained_fields.read(config, path)
    host, port = config.view.host, config.view.port
    running = serve(
        task.clips[done[0]](), trained, host=host, port=port, chunk=config.render.chunk
    )
    return viewer.wait(running, host, done)


def serve(
    clip: Clip,
    trained: TrainedFields,
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    chunk: int = field_frames.CHUNK,
) -> "FieldViewer":
    """Starts the viewer, which runs in the background until its `stop`.

    Args:
      clip: With cameras and views, as the fields were trained on it.
      trained: Its fields.
      port: 0 takes any free one.
      host: 127.0.0.1 keeps it to this machine.
      chunk: Rays that are rendered at once.

    Raises:
      UsageError: the extra `viz` is not installed, the port is taken, or the clip
        lacks cameras or views.
    """
    return FieldViewer(
        viewer.start(host, port, docked=True),
        clip,
        trained_fields.places(trained, clip),
        trained,
        chunk,
    )


class _Visitor(NamedTuple):
    client: Any
    status: Any
    seen: list[Painting]  # The latest, if any.
    first: list[float]  # Seconds that the latest two coarse pictures took.


class FieldViewer:
    """A running viewer."""

    def __init__(
        self,
        server: Any,
        clip: Clip,
        frames: SceneFrames,
        trained: TrainedFields,
        chunk: int,
    ):
        self.server = server
        self.artist = FieldArtist(frames.scene, clip.size_hw, trained, chunk)
        self._frames = frames
        self._unit = clip.metric_scale
        if not clip.scale_known:
            self._unit = DEPTH / float(np.median(frames.scene.far))
        self._clip = clip.replace(metric_scale=self._unit)
        self._lock = threading.Lock()
        self._visitors: dict[int, _Visitor] = {}
        self.shown = field_scene.middle(frames.scene)  # The row that is shown.
        self._c2w = _poses(frames.scene.camera, self._unit)
        self._fov_y = _fov_y(frames.scene.camera, clip.size_hw)
        self._up = scene.up_direction(self._c2w)
        server.scene.set_up_direction(self._up)
        self._path = self._add_path()
        surface = viewer.add_scene(server, self._clip, visible=False)
        self._add_controls(layer_names(trained.fields.num_streams), surface)
        self._painter = Painter(self.artist.paint, self._hang)
        server.on_client_connect(self._welcome)
        server.on_client_disconnect(self._farewell)
        self._clock.set(self.shown)
        self.show(self.shown)
        self._clock.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.get_port()

    def show(self, row: int) -> None:
        """Sets the time to a row of the scene."""
        t = int(self._frames.frame_idx[row])
        self.shown = row
        self._title.content = f"{self._clip.frame_ids[t]} ({self._frames.split[row]})"
        for visitor in list(self._visitors.values()):
            if self._following.value:
                self._seat(visitor.client, row)
            self._wish(visitor.client)
        photo = self._photo(t)
        self._photograph.visible = photo is not None
        if photo is not None:
            self._photograph.image = enlarged(photo)

    def stop(self) -> None:
        """Ends the viewer and frees its port."""
        self._clock.stop()
        self._painter.stop()
        self.server.stop()

    # ---------------------------------------------------------------------- the page

    def _add_path(self) -> Any:
        root = viewer.add_path(self.server, self._c2w[:, :3, 3])
        for split, color in COLORS.items():
            rows = self._frames.rows(split)
            few = np.linspace(0, len(rows) - 1, min(MOST_FRUSTA, len(rows)))
            for row in rows[few.round().astype(int)].tolist():
                frustum = viewer.add_frustum(
                    self.server,
                    str(row),
                    self._c2w[row],
                    self._fov_y,
                    self._clip.size_hw,
                    color,
                )
                frustum.on_click(functools.partial(self._jump, row))
        return root

    def _add_controls(self, layers: list[str], surface: Any) -> None:
        gui = self.server.gui
        gui.add_markdown(f"**{self._clip.name}**", order=-2)
        self._title = gui.add_markdown("")
        count = len(self._frames.split)
        self._clock = viewer.Clock(gui, count, self._clip.fps, self._follow)
        self._following = gui.add_checkbox(
            "follow the camera", False, hint="Look through the recorded camera."
        )
        self._layer = gui.add_dropdown("layer", layers)
        self._suppressed = gui.add_checkbox(
            "without actor",
            False,
            hint="Take the actor away, who else moves with your camera.",
        )
        self._finest = gui.add_dropdown("size", list(SIZES), initial_value="full")
        self._photograph = gui.add_image(
            np.zeros((1, 1, 3), np.uint8), label="photograph", visible=False
        )
        self._suppressed.visible = "actor" in layers
        for handle in (self._following, self._suppressed, self._finest):
            handle.on_update(lambda _: self.show(self.shown))
        self._layer.on_update(lambda _: self._hang_again())
        self._with_path = gui.add_checkbox("camera path", True)
        for box in (self._with_path, self._following):
            box.on_update(lambda _: self._show_path())
        if surface is not None:
            box = gui.add_checkbox("scene", surface.visible)
            box.on_update(viewer.shower(box, surface))
        gui.add_markdown(
            "Drag to move; click a camera to go there: "
            "blue train, orange val, green test."
        )

    def _show_path(self) -> None:
        """The path is not drawn across the view of one of its own cameras."""
        self._path.visible = self._with_path.value and not self._following.value

    def _photo(self, t: int) -> np.ndarray | None:
        try:
            return None if self._clip.frames is None else self._clip.frames[t]
        except FrameError:
            return None

    def _follow(self, row: int) -> None:
        if row != self.shown:
            self.show(row)

    def _jump(self, row: int, event: Any) -> None:
        """Goes to a camera of the path, in place and time."""
        self._seat(event.client, row)
        self._clock.set(row)

    # ------------------------------------------------------------------- the visitors

    def _welcome(self, client: Any) -> None:
        visitor = _Visitor(client, client.gui.add_markdown(WAITING, order=-1), [], [])
        client.camera.near = CLIP_NEAR
        self._seat(client, self.shown)
        with self._lock:
            self._visitors[client.client_id] = visitor
        client.camera.on_update(lambda _: self._wish(client))
        self._wish(client)

    def _farewell(self, client: Any) -> None:
        with self._lock:
            self._visitors.pop(client.client_id, None)
        self._painter.forget(client.client_id)

    def _seat(self, client: Any, row: int) -> None:
        """Puts a visitor where a recorded camera was; they turn about what it saw."""
        c2w, ends = self._c2w[row], self._frames.scene
        depth = self._unit * np.sqrt(ends.near[row] * ends.far[row])
        wxyz, position = viewer.pose(c2w)
        with client.atomic():
            client.camera.position = position
            client.camera.look_at = position + depth * c2w[:3, 2]
            client.camera.wxyz = wxyz

    def _wish(self, client: Any) -> None:
        """Paints what a visitor sees from now on."""
        seat = client.camera
        if not seat.image_width or not seat.image_height:
            return  # A window without a size.
        # All that a recorded camera saw is in the window, whatever the window's shape.
        height, width = self._clip.size_hw
        share = max(1.0, width / height / seat.aspect)
        seat.fov = float(2 * np.arctan(share * np.tan(self._fov_y / 2)))
        c2w = np.eye(4)
        c2w[:3, :3] = Rotation.from_quat(np.roll(seat.wxyz, -1)).as_matrix()
        c2w[:3, 3] = seat.position / self._unit
        camera = pinhole(c2w, seat.fov, seat.aspect, self.artist.tile_hw)
        wish = Wish(camera, self.shown, self._suppressed.value)
        with self._lock:
            if client.client_id in self._visitors:
                finest = SIZES[self._finest.value]
                self._painter.wish(client.client_id, wish, finest)

    def _hang(self, number: int, painting: Painting) -> None:
        """Shows a visitor a picture."""
        with self._lock:
            visitor = self._visitors.get(number)
        if visitor is None:
            return
        visitor.seen[:] = [painting]
        if painting.count == 1:
            visitor.first[:] = [*visitor.first[-1:], painting.seconds]
        found = layer(painting.images, self._layer.value)
        with visitor.client.atomic():
            visitor.client.scene.set_background_image(
                found.picture, "png", depth=found.depth * self._unit
            )
            visitor.status.content = _speed(painting, visitor.first)

    def _hang_again(self) -> None:
        """Shows all visitors another layer of what they see."""
        for number, visitor in list(self._visitors.items()):
            for painting in visitor.seen:
                self._hang(number, painting)


def _speed(painting: Painting, first: list[float]) -> str:
    """How long a picture took; how fast they are while one moves."""
    height, width = painting.images.depth.shape
    text = f"{width} x {height} in {painting.seconds:.2f} s"
    if len(first) < 2:  # The very first was compiled as well.
        return text
    return f"{text}; while moving {1 / max(first[-1], 1e-3):.1f} a second"


def _poses(camera: Camera, unit: float) -> np.ndarray:
    c2w = np.linalg.inv(np.asarray(camera.w2c, np.float64))
    c2w[:, :3, 3] *= unit
    return c2w


def _fov_y(camera: Camera, size_hw: tuple[int, int]) -> float:
    focal = np.median(np.asarray(camera.intrinsics)[:, 1, 1])
    return float(2 * np.arctan(size_hw[0] / 2 / focal))
