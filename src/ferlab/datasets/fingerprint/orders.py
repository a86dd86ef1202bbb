"""Whether labels that differ follow from numbering the classes in another order."""

import numpy as np

from ferlab.datasets.fingerprint.copy import Copy
from ferlab.emotions import TAXONOMIES, Taxonomy

LIKELY = 0.95


def order_of(table: np.ndarray, copy: Copy) -> str:
    """``: class numbers follow another order (alphabetical7)``, or nothing when no order explains the labels.

    ``table`` counts the release's class (rows) against the copy's (columns).
    """
    order = table.argmax(axis=1)
    if table.max(axis=1).sum() < LIKELY * table.sum() or len(set(order.tolist())) < len(order):
        return ""
    if (order == np.arange(len(order))).all():
        return ""
    name = _name_of(order, copy.rows.taxonomy)
    return ": class numbers follow another order" + (f" ({name})" if name else "")


def _name_of(order: np.ndarray, taxonomy: Taxonomy) -> str:
    """The taxonomy in which the copy's numbers have the right names; empty when there is none."""
    numbers = [taxonomy.ids[place] for place in order.tolist()]
    for other in TAXONOMIES.values():
        if set(other.classes) == set(taxonomy.classes) and all(number in other.ids for number in numbers):
            names = [other.classes[other.ids.index(number)] for number in numbers]
            if names == list(taxonomy.classes):
                return other.name
    return ""
