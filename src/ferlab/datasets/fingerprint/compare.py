"""A copy against the signature of a release: what it is, what is known of that release, what should not be there."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ferlab.datasets.fer2013.parts import MIXED, PRIVATE_TEST, PUBLIC_TEST
from ferlab.datasets.fingerprint.copy import UNLABELLED, Copy
from ferlab.datasets.fingerprint.match import Matches, match
from ferlab.datasets.fingerprint.signature import Signature
from ferlab.emotions import TAXONOMIES, Taxonomy

OFFICIAL, OFFICIAL_COUNTS, WITHOUT_PRIVATE = "official", "official-counts", "official-without-privatetest"
REENCODED, ALTERED, AUGMENTED = "jpeg-reencode", "altered-pixels", "augmented-before-split"
RESPLIT, RELABELLED, SUBSET, UNKNOWN = "re-split", "relabelled", "subset", "unknown"
GRAVITY = (UNKNOWN, AUGMENTED, RESPLIT, RELABELLED, ALTERED, SUBSET)
"""Of several alarms the first of these names the copy."""

LEAST_FOUND = 0.5
MOST_MOVED = 0.02
MOST_RELABELLED = 0.01
MOST_SURPLUS = 0.01
CONTRAST_CHANGE = 0.03
SHARPNESS_RANGE = (0.85, 1.2)
"""Paired medians over the same pictures. Measured on FER-2013: JPEG of quality 50 to 95 changes contrast by less than
0.004 and sharpness by a factor of 0.96 to 1.04; blurring by 0.6 px gives 0.55, stretching the histogram 0.24."""
LIKELY_ORDER = 0.95


@dataclass
class Fingerprint:
    """The outcome: a verdict, what is known of the release, what should not be there, and the numbers behind it."""

    verdict: str
    release: str
    known: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    signature: Signature | None = None


def identify(copy: Copy, signatures: list[Signature]) -> Fingerprint:
    """Compare with the signatures of the copy's layout, else with all, and keep the one that fits best."""
    of_layout = [signature for signature in signatures if signature.name == copy.source.layout]
    outcomes = [compare(copy, signature) for signature in of_layout or signatures]
    if not outcomes:
        return Fingerprint(UNKNOWN, "", ["no signature of a release to compare with"])
    return min(outcomes, key=lambda outcome: (outcome.verdict == UNKNOWN, len(outcome.alarms)))


def compare(copy: Copy, signature: Signature) -> Fingerprint:
    """What ``copy`` is when it is meant to be the release of ``signature``."""
    result = Fingerprint(UNKNOWN, signature.title, signature=signature)
    alarms: list[tuple[str, str]] = []
    matches = {name: match(signature, name, part, copy, MIXED) for name, part in signature.parts.items() if part.sample}
    result.evidence["parts"] = {name: _shares(found) for name, found in matches.items()}
    share = _mean_share(matches)
    if matches and share < LEAST_FOUND:
        alarms.append((UNKNOWN, f"only {share:.1%} of the known images of {signature.title} are there: it is another"))
    else:
        alarms += _count_alarms(copy, signature, result)
        alarms += _pixel_alarms(copy, signature, matches, result)
    result.alarms = [text for _, text in alarms]
    kinds = {kind for kind, _ in alarms}
    result.verdict = next((kind for kind in GRAVITY if kind in kinds), None) or _clean_verdict(copy, signature, matches)
    _say_what_is_known(copy, signature, matches, result)
    return result


def _mean_share(matches: dict[str, Matches]) -> float:
    total = sum(len(found.row) for found in matches.values())
    return sum(int(found.found.sum()) for found in matches.values()) / total if total else 1.0


def _shares(found: Matches) -> dict[str, float]:
    count = max(len(found.row), 1)
    return {
        "sampled": len(found.row),
        "found": float(found.found.sum() / count),
        "same_pixels": float(found.exact.sum() / count),
        "in_its_part": float((found.found & found.at_home).sum() / max(found.found.sum(), 1)),
        "echoes": float(found.echoes[found.sure].mean()) if found.sure.any() else 0.0,
    }


def _count_alarms(copy: Copy, signature: Signature, result: Fingerprint) -> Iterator[tuple[str, str]]:
    """Too many or too few images; a part that is not there at all is missing, the others are told by class."""
    ours, classes = copy.counts, copy.rows.taxonomy.classes
    for name, there, expected in _comparable(copy, signature):
        wanted, present = sum(expected.values()), sum(there.values())
        surplus = {
            c: there[c] - expected[c] for c in expected if there.get(c, 0) > expected[c] * (1 + MOST_SURPLUS) + 1
        }
        if surplus and present > wanted:
            listed = ", ".join(f"{c} {there[c]:,} of {expected[c]:,}" for c in surplus)
            yield AUGMENTED, f"{name}: more images than the release has ({listed}): augmented or mixed with others"
        elif present < LEAST_FOUND * wanted and not signature.knows_pixels:
            yield UNKNOWN, f"{name}: {present:,} images, {signature.title} has {wanted:,}: this is not that release"
        elif present < wanted:
            yield SUBSET, f"{name}: {present:,} of {wanted:,} images, {1 - present / wanted:.1%} are missing"
        elif there != expected:
            moved = sum(abs(there.get(c, 0) - expected[c]) for c in expected) // 2
            yield RELABELLED, f"{name}: class counts differ from the release's by {moved:,} images"
    for name in signature.parts:
        if name not in ours and not (MIXED in ours and name in (PUBLIC_TEST, PRIVATE_TEST)):
            if name == PRIVATE_TEST:
                result.known.append(f"{PRIVATE_TEST} ({signature.parts[name].total:,} images) is not there")
            else:
                yield SUBSET, f"{name}: none of its {signature.parts[name].total:,} images are there"
    result.evidence["classes"] = list(classes)


def _comparable(copy: Copy, signature: Signature) -> Iterator[tuple[str, dict[str, int], dict[str, int]]]:
    """Part, counts in the copy and counts of the release over the classes that the copy's taxonomy has."""
    classes = [name for name in copy.rows.taxonomy.classes if name in signature.classes]
    for name, counts in copy.counts.items():
        sources = [PUBLIC_TEST, PRIVATE_TEST] if name == MIXED else [name]
        known = [signature.parts[source] for source in sources if source in signature.parts]
        if len(known) < len(sources):
            continue
        if UNLABELLED in counts:
            yield name, {UNLABELLED: sum(counts.values())}, {UNLABELLED: sum(part.total for part in known)}
            continue
        expected = {c: sum(part.counts[c] for part in known) for c in classes}
        yield name, {c: counts[c] for c in classes}, expected


def _pixel_alarms(
    copy: Copy, signature: Signature, matches: dict[str, Matches], result: Fingerprint
) -> Iterator[tuple[str, str]]:
    for name, found in matches.items():
        if name not in copy.counts and MIXED not in copy.counts:
            continue
        yield from _moved(name, found, copy, result)
        yield from _altered(name, found, copy, signature, result)
    yield from _relabelled(matches, copy, signature, result)
    yield from _unlike_the_other_test(copy, signature)


def _moved(name: str, found: Matches, copy: Copy, result: Fingerprint) -> Iterator[tuple[str, str]]:
    away = found.sure & ~found.at_home
    share = away.sum() / max(found.sure.sum(), 1)
    result.evidence["parts"][name]["moved"] = float(share)
    if share > MOST_MOVED:
        where = ", ".join(sorted(set(copy.parts[found.row[away]].tolist())))
        yield RESPLIT, f"{name}: {share:.1%} of its known images are in {where}: the copy was split anew"


def _altered(
    name: str, found: Matches, copy: Copy, signature: Signature, result: Fingerprint
) -> Iterator[tuple[str, str]]:
    """Same pictures, other pixels: contrast and sharpness of each against the release's."""
    sample, sure = signature.parts[name].sample, found.sure & found.at_home
    if sample is None or not sure.any():
        return
    rows = found.row[sure]
    size = signature.parts[name].size_px
    sizes = {(int(w), int(h)) for w, h in copy.scan.sizes[rows]}
    if size and sizes != {size}:
        listed = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)[:3])
        yield ALTERED, f"{name}: images are {listed} px, the release has {size[0]}x{size[1]} px"
        return
    contrast = np.log(copy.scan.contrasts[rows] / sample.contrasts[sure].astype(np.float32))
    sharpness = copy.scan.sharpness[rows] / sample.sharpness[sure].astype(np.float32)
    # edges fade with contrast: only what they lose beyond it is blur
    shift, ratio = float(np.median(np.abs(contrast))), float(np.median(sharpness / np.exp(contrast)))
    result.evidence["parts"][name] |= {"contrast_change": shift, "sharpness_ratio": ratio}
    if shift > CONTRAST_CHANGE and not ratio < SHARPNESS_RANGE[0]:
        direction = "more" if np.median(contrast) > 0 else "less"
        yield (
            ALTERED,
            f"{name}: {direction} contrast than the release (by a factor of {np.exp(np.median(contrast)):.2f})",
        )
    elif not SHARPNESS_RANGE[0] <= ratio <= SHARPNESS_RANGE[1]:
        word = "blurred" if ratio < 1 else "sharpened or noisy"
        yield ALTERED, f"{name}: {word}: its edges have {ratio:.2f} times the strength of the release's"


def _relabelled(
    matches: dict[str, Matches], copy: Copy, signature: Signature, result: Fingerprint
) -> Iterator[tuple[str, str]]:
    if copy.rows.taxonomy.classes != signature.classes:
        return
    table = np.zeros((len(signature.classes),) * 2, np.int64)
    for name, found in matches.items():
        sample = signature.parts[name].sample
        assert sample is not None
        labels = copy.labels[found.row]
        usable = found.sure & (labels >= 0)
        np.add.at(table, (sample.labels[usable], labels[usable]), 1)
    total = int(table.sum())
    share = 1 - np.trace(table) / total if total else 0.0
    result.evidence["other_label"] = float(share)
    if share <= MOST_RELABELLED:
        return
    order = table.argmax(axis=1)
    if table.max(axis=1).sum() / total >= LIKELY_ORDER and len(set(order.tolist())) == len(order):
        name = _name_of_order(order, copy.rows.taxonomy)
        yield (
            RELABELLED,
            f"class numbers follow another order{name}: {share:.1%} of the known images have another label",
        )
    else:
        yield RELABELLED, f"{share:.1%} of the known images have another label than in the release"


def _name_of_order(order: np.ndarray, taxonomy: Taxonomy) -> str:
    """`` (alphabetical7)`` when the numbers, read in that taxonomy, give the right names."""
    for other in TAXONOMIES.values():
        if set(other.classes) == set(taxonomy.classes) and other is not taxonomy:
            numbers = [taxonomy.ids[place] for place in order.tolist()]
            if all(n in other.ids for n in numbers):
                names = [other.classes[other.ids.index(n)] for n in numbers]
                if names == list(taxonomy.classes):
                    return f" ({other.name})"
    return ""


def _unlike_the_other_test(copy: Copy, signature: Signature) -> Iterator[tuple[str, str]]:
    """PrivateTest, of which no pixels are known, must look like PublicTest."""
    private = signature.parts.get(PRIVATE_TEST)
    if private is None or private.sample or not {PUBLIC_TEST, PRIVATE_TEST} <= set(copy.counts):
        return
    usable = copy.scan.usable
    for what, values in (("contrast", copy.scan.contrasts), ("sharpness", copy.scan.sharpness)):
        one, other = (float(values[usable & (copy.parts == part)].mean()) for part in (PRIVATE_TEST, PUBLIC_TEST))
        if not 0.93 <= one / other <= 1.07:
            yield ALTERED, f"{PRIVATE_TEST}: mean {what} is {one / other:.2f} times that of {PUBLIC_TEST}"


def _clean_verdict(copy: Copy, signature: Signature, matches: dict[str, Matches]) -> str:
    if not matches:
        return OFFICIAL_COUNTS
    here = [found for name, found in matches.items() if name in copy.counts or MIXED in copy.counts]
    exact = sum(int(found.exact.sum()) for found in here) / max(sum(len(found.row) for found in here), 1)
    if exact < LEAST_FOUND:
        return REENCODED
    private = PRIVATE_TEST in signature.parts and not {PRIVATE_TEST, MIXED} & set(copy.counts)
    return WITHOUT_PRIVATE if private else OFFICIAL


def _say_what_is_known(copy: Copy, signature: Signature, matches: dict[str, Matches], result: Fingerprint) -> None:
    """Facts of the release itself, and of this copy what is no reason to distrust it."""
    if result.verdict == UNKNOWN:
        return
    for path in copy.source.entries:
        published = signature.files.get(path.name)
        if published and path.is_file() and path.stat().st_size == published["bytes"]:
            same = _md5(path) == published["md5"]
            result.known.append(f"{path.name}: {'the published file' if same else 'not the published file'} by its md5")
    if result.verdict == REENCODED:
        result.known.append("pixels were encoded anew (JPEG); contrast and sharpness are those of the release")
    if MIXED in copy.counts and PUBLIC_TEST in signature.parts:
        result.known.append(f"{PUBLIC_TEST} and {PRIVATE_TEST} cannot be told apart: file names lost their prefix")
    if result.verdict == OFFICIAL_COUNTS:
        result.known.append("counts agree with the release; ferlab knows no pixels of it")


def _md5(path: Any) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
