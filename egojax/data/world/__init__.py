"""The procedural world: exact truth for everything."""
