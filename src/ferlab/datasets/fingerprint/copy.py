"""What the fingerprint looks at: a copy's rows, their classes by name, and the scan of their images."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ferlab.datasets.audit.exact import Duplicates, find_duplicates
from ferlab.datasets.audit.features import describe
from ferlab.datasets.audit.near import NearPairs, find_near
from ferlab.datasets.audit.scan import Scan
from ferlab.datasets.listing import Rows, Source

UNLABELLED = "no label"


@dataclass(frozen=True)
class Copy:
    """A copy of a dataset after every image was looked at."""

    source: Source
    rows: Rows
    scan: Scan

    @cached_property
    def parts(self) -> np.ndarray:
        """Part (n,) of each row, as text."""
        return np.array(self.rows.table["part"].to_pylist(), dtype=object)

    @cached_property
    def labels(self) -> np.ndarray:
        """Position (n,) of each row's class in the taxonomy, -1 for none."""
        return self.rows.table["label"].to_numpy()

    @cached_property
    def features(self) -> np.ndarray:
        """``audit.features`` (n, BITS) of every row."""
        return describe(self.scan.thumbnails)

    @cached_property
    def duplicates(self) -> Duplicates:
        """Pixel-identical rows."""
        return find_duplicates(self.scan, self.parts, self.labels)

    @cached_property
    def near(self) -> NearPairs:
        """Near duplicates across parts."""
        return find_near(self.scan, self.parts, self.duplicates.group)

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Part to class name to number of usable rows, the largest part first."""
        classes = self.rows.taxonomy.classes
        usable = self.scan.usable
        found = Counter(zip(self.parts[usable].tolist(), self.labels[usable].tolist(), strict=True))
        counts: dict[str, dict[str, int]] = {}
        for part, _ in Counter(sorted(self.parts.tolist())).most_common():
            counts[part] = {name: found[part, i] for i, name in enumerate(classes)}
            if found[part, -1]:
                counts[part][UNLABELLED] = found[part, -1]
        return counts

    def digest_bytes(self) -> np.ndarray:
        """Pixel digests uint8 (n, 16)."""
        return self.scan.digests.view(np.uint8).reshape(len(self.scan.digests), 16)
