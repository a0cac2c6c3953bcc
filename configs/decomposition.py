r"""NeuralDiff: what is static, moving, actor (Tschernezki et al., 3DV 2021).

  python launch.py --config=configs/decomposition.py --mode=convert \
      --config.convert.colmap_dir=DIR --config.convert.out=data/custom/VID \
      --config.convert.scale=8            a COLMAP scene into the official layout
"""

import base
import ml_collections
from ml_collections.config_dict import placeholder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `arg` names variants joined by "+"."""
    config = base.run("decomposition", seed=0)
    # --mode=convert: a COLMAP or EPIC-FIELDS scene into the layout of NeuralDiff.
    config.convert = dict(
        colmap_dir=placeholder(str),  # Folder with sparse/0 and images; or these two:
        model=placeholder(str),  # Folder of a COLMAP model, or an EPIC-FIELDS JSON.
        images=placeholder(str),  # Folder of its images.
        out=placeholder(str),  # Folder of the scene to write.
        scale=1.0,  # By what the sides of images are divided.
        split_nth=8,  # Every how many frames one is held out; 0 = none.
        quality=95,  # Of JPEGs.
    )
    return config
