"""egojax: objects in video from a moving, usually head-worn camera."""

__version__ = "0.1.0"
