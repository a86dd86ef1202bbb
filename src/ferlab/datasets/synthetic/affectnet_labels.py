"""AffectNet's eleven labels on drawn faces: the seven categories, Contempt, and what is no category."""

from collections.abc import Mapping

from ferlab.datasets.synthetic.anatomy import Face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.datasets.synthetic.turns import turn
from ferlab.emotions import AFFECTNET8

NONE, UNCERTAIN, NO_FACE = "none", "uncertain", "no-face"

EXPRESSIONS = (*AFFECTNET8.classes, NONE, UNCERTAIN, NO_FACE)
"""Names of the expressions 0 to 10 (Mollahosseini et al. 2017)."""

EIGHT_CLASSES = {"category": 0.95, "contempt": 0.05}
ALL_EXPRESSIONS = {"category": 0.76, "contempt": 0.05, NONE: 0.06, UNCERTAIN: 0.05, NO_FACE: 0.08}


def labelled_face(shares: Mapping[str, float], seed: int, index: int) -> tuple[str, Face]:
    """The label, one of ``EXPRESSIONS``, and the face of an index; the face of "no-face" is not to be drawn."""
    kind = turn(shares, 0, seed, index)
    face = sample_face(seed, index, "contempt" if kind == "contempt" else None)
    return (face.category if kind == "category" else kind), face
