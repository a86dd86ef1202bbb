"""AffectNet's numbers for expressions, and what becomes of each under a taxonomy."""

import numpy as np

from ferlab.emotions import AFFECTNET8, Taxonomy, positions_in

EXPRESSIONS = (*AFFECTNET8.classes, "None", "Uncertain", "No-Face")
"""Names by number, 0..10 (Mollahosseini et al. 2017); the last three are no category."""

LEFT_OUT = -1


def labels_in(taxonomy: Taxonomy) -> np.ndarray:
    """Position in ``taxonomy`` of each expression number, int32 (11,); ``LEFT_OUT`` where it has none."""
    labels = np.full(len(EXPRESSIONS), LEFT_OUT, dtype=np.int32)
    for number, position in enumerate(positions_in(AFFECTNET8, taxonomy)):
        labels[number] = LEFT_OUT if position is None else position
    return labels


def why_left_out(expression: int, taxonomy: Taxonomy) -> str:
    """The reason under which an expression that is not in ``taxonomy`` is counted."""
    name = EXPRESSIONS[expression]
    return f"{name}, not one of the {len(taxonomy)} classes" if name in AFFECTNET8.classes else name


def policy_of(taxonomy: Taxonomy) -> dict[str, str]:
    """What is done with Contempt, in words: results that differ in it cannot be compared."""
    if "contempt" in taxonomy.classes:
        return {"contempt": "its own class"}
    return {"contempt": "left out: images labelled contempt are not used and the model cannot predict it"}
