"""The procedural world: a seed becomes a clip with exact truth (`make_clip`)."""

from egojax.data.world.clip import make_clip
from egojax.data.world.state import World, make_world

__all__ = ["World", "make_clip", "make_world"]
