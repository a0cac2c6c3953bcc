"""Algorithms over clips that several jobs share; no config objects."""
