"""Known pictures of a release in a copy with other pixels: found by how they look, compared one by one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.findings import ALTERED, RELABELLED, RESPLIT, Alarm, Fingerprint
from ferlab.datasets.fingerprint.match import Matches
from ferlab.datasets.fingerprint.orders import order_of
from ferlab.datasets.fingerprint.signature import Sample, Signature

MOST_MOVED, MOVED_WITHOUT_PART = 0.02, 0.5
"""Share of a part's sample in other parts. Where the part is absent, its near duplicates elsewhere are no sign."""
MOST_RELABELLED = 0.01
LEAST_FOUND = 0.97
MOST_UNLIKE_MEAN = 0.07
"""Of a whole part: Training and PublicTest of FER-2013 differ by less than 0.02 in each."""
MOST_UNLIKE = 0.05
"""Share of pictures that may be outside the ranges below, and of the median of all that must be inside."""
CONTRAST_CHANGE, BRIGHTNESS_CHANGE, SHARPNESS_RANGE = 0.03, 3.0, (0.85, 1.2)
ONE_CONTRAST, ONE_BRIGHTNESS, ONE_SHARPNESS = 0.12, 8.0, (0.65, 1.5)
"""Of the median, and of a single picture. Measured on FER-2013: JPEG of quality 50 to 95 changes the median contrast by
less than 0.004 and sharpness by a factor of 0.96 to 1.04; blurring by 0.6 px gives 0.55, a stretched histogram 0.24."""


@dataclass(frozen=True)
class Change:
    """Of each picture: log ratio of contrast, difference of mean gray level, ratio of sharpness beyond contrast's."""

    contrast: np.ndarray
    brightness: np.ndarray
    sharpness: np.ndarray

    def unlike(self) -> float:
        """Share of pictures that differ more than encoding anew makes them."""
        odd = (np.abs(self.contrast) > ONE_CONTRAST) | (np.abs(self.brightness) > ONE_BRIGHTNESS)
        odd |= (self.sharpness < ONE_SHARPNESS[0]) | (self.sharpness > ONE_SHARPNESS[1])
        return float(odd.mean())


def look_alarms(name: str, found: Matches, copy: Copy, signature: Signature, result: Fingerprint) -> Iterator[Alarm]:
    """What the sample of one part tells: pictures in other parts, not found, or changed."""
    away = found.sure & ~found.at_home
    here = any(name in signature.sources(part) for part in copy.counts)
    share = away.sum() / len(found.row)
    if share > (MOST_MOVED if here else MOVED_WITHOUT_PART):
        where = ", ".join(sorted(set(copy.parts[found.row[away]].tolist())))
        yield RESPLIT, f"{name}: {share:.1%} of its known images stand in {where}: the copy was split anew"
    if not here:
        return
    complete = sum(copy.counts.get(name, {}).values()) >= signature.parts[name].total
    if complete and found.found.mean() < LEAST_FOUND:
        yield ALTERED, f"{name}: {1 - found.found.mean():.1%} of its known images cannot be recognised"
    yield from _changed(name, found, copy, signature, result)


def _changed(name: str, found: Matches, copy: Copy, signature: Signature, result: Fingerprint) -> Iterator[Alarm]:
    part, sure = signature.parts[name], found.sure & found.at_home
    if part.sample is None or not sure.any():
        return
    rows = found.row[sure]
    sizes = {(int(w), int(h)) for w, h in copy.scan.sizes[rows]}
    if part.size_px and sizes != {part.size_px}:
        listed = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)[:3])
        yield ALTERED, f"{name}: images are {listed} px, the release has {part.size_px[0]}x{part.size_px[1]} px"
        return
    change = _change(copy, rows, part.sample, sure)
    contrast, sharpness = float(np.median(change.contrast)), float(np.median(change.sharpness))
    brightness = float(np.median(change.brightness))
    spread = float(np.median(np.abs(change.contrast)))
    result.evidence.setdefault("changes", {})[name] = {
        "contrast": spread, "brightness": brightness, "sharpness": sharpness, "unlike": change.unlike()
    }  # fmt: skip
    if sharpness < SHARPNESS_RANGE[0]:
        yield ALTERED, f"{name}: blurred: its edges have {sharpness:.2f} times the strength of the release's"
    elif spread > CONTRAST_CHANGE:
        word = "more" if contrast > 0 else "less"
        yield ALTERED, f"{name}: {word} contrast than the release (by a factor of {np.exp(contrast):.2f})"
    elif sharpness > SHARPNESS_RANGE[1]:
        yield ALTERED, f"{name}: sharpened or noisy: its edges have {sharpness:.2f} times the strength of the release's"
    elif abs(brightness) > BRIGHTNESS_CHANGE:
        word = "brighter" if brightness > 0 else "darker"
        yield ALTERED, f"{name}: {word} than the release by {abs(brightness):.0f} gray levels"
    elif change.unlike() > MOST_UNLIKE:
        yield ALTERED, f"{name}: {change.unlike():.1%} of its known images differ in contrast, brightness or sharpness"


def _change(copy: Copy, rows: np.ndarray, sample: Sample, chosen: np.ndarray) -> Change:
    scan = copy.scan
    contrast = np.log(np.maximum(scan.contrasts[rows], 0.1) / sample.contrasts[chosen].astype(np.float32))
    sharpness = scan.sharpness[rows] / np.maximum(sample.sharpness[chosen].astype(np.float32), 0.1)
    return Change(
        contrast=contrast,
        brightness=scan.means[rows] - sample.means[chosen].astype(np.float32),
        sharpness=sharpness / np.exp(contrast),
    )


def label_alarms(matches: dict[str, Matches], copy: Copy, signature: Signature, result: Fingerprint) -> Iterator[Alarm]:
    """Labels of the pictures that were surely found, over all parts."""
    if copy.rows.taxonomy.classes != signature.classes:
        return
    table = np.zeros((len(signature.classes),) * 2, np.int64)
    for name, found in matches.items():
        sample = signature.parts[name].sample
        labels = copy.labels[found.row]
        usable = found.sure & (labels >= 0)
        if sample is not None:
            np.add.at(table, (sample.labels[usable], labels[usable]), 1)
    share = 1 - np.trace(table) / table.sum() if table.sum() else 0.0
    result.evidence["other_label_share"] = float(share)
    if share > MOST_RELABELLED:
        yield (
            RELABELLED,
            f"{share:.1%} of the known images carry another label than in the release{order_of(table, copy)}",
        )


def unlike_the_rest(copy: Copy, signature: Signature) -> Iterator[Alarm]:
    """Parts of which no pixels are known must have the mean contrast, brightness and sharpness of those that are."""
    measured = [name for name, part in signature.parts.items() if part.sample and name in copy.counts]
    usable = copy.scan.usable
    rest = usable & np.isin(copy.parts.astype(str), measured)
    for name, part in signature.parts.items():
        mask = usable & (copy.parts == name)
        if part.sample or not mask.any() or not rest.any():
            continue
        for what, values in (
            ("contrast", copy.scan.contrasts), ("brightness", copy.scan.means), ("sharpness", copy.scan.sharpness)
        ):  # fmt: skip
            ratio = float(values[mask].mean() / max(values[rest].mean(), 0.1))
            if abs(ratio - 1) > MOST_UNLIKE_MEAN:
                yield ALTERED, f"{name}: its mean {what} is {ratio:.2f} times that of {' and '.join(measured)}"
