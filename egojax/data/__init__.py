"""IO: the only place, with `train`, that touches disk."""
