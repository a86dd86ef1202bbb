"""Time and memory of finding, signing, listing and splitting a copy of many files, before any image is read.

    python benchmarks/listing.py [--files 1000000] [--work DIR]

AffectNet as class folders, at a tenth of the size and at the full one, each in a fresh process; the file system's cache
is warm. Memory is what comes on top of the interpreter and its imports. Bars at the full size: 60 s, 500 MB.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ferlab.emotions import AFFECTNET8

VAL_SHARE = 0.01
LINKS_PER_FILE = 30_000
"""File systems allow some 60,000 names for one file."""
MAX_SECONDS, MAX_MB = 60, 500


def write_copy(root: Path, files: int) -> None:
    """``train|val/<class>/<number>.jpg``, empty, most of them further names of a few files."""
    counts = {"val": round(files * VAL_SHARE)}
    counts["train"] = files - counts["val"]
    for part, count in counts.items():
        folders = [root / part / name for name in AFFECTNET8.classes]
        for position, folder in enumerate(folders):
            folder.mkdir(parents=True)
            for place, number in enumerate(range(position, count, len(folders))):
                name = f"{folder}/image{number:08d}.jpg"
                if place % LINKS_PER_FILE == 0:
                    first = name
                    Path(name).touch()
                else:
                    os.link(first, name)


def peak_mb() -> float:
    """The most memory that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def measured(root: Path) -> dict[str, float]:
    """Seconds of each step, the rows that were found, and the memory that it took; of this process, so call it once."""
    # not above: a process starts with the peak of the one that started it
    from ferlab.datasets.affectnet import reader  # noqa: F401
    from ferlab.datasets.catalog import FAMILIES
    from ferlab.datasets.listing import Reading
    from ferlab.datasets.splits import Split, apply_split

    family, before = FAMILIES["affectnet"], peak_mb()
    times = [time.perf_counter()]
    source = family.locate(root, root / "no-cache")
    source.signature()
    times.append(time.perf_counter())
    rows = family.read(source, Reading(AFFECTNET8))
    times.append(time.perf_counter())
    listing = apply_split(rows, Split("carved", 0.1, 0), family.protocols, None)
    times.append(time.perf_counter())
    steps = zip(("signature", "read", "split"), times[:-1], times[1:], strict=True)
    seconds = {name: end - start for name, start, end in steps}
    return seconds | {"rows": listing.table.num_rows, "mb": peak_mb() - before}


def in_fresh_process(root: Path) -> dict[str, float]:
    """``measured`` in a process of its own."""
    command = [sys.executable, __file__, "--measure", str(root)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    """Write, measure, print, and exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure)))
        return
    titles = ("files", "signature", "read", "split", "in all", "files/s", "MB", "bytes a file")
    print("".join(f"{title:>13}" for title in titles))
    options.work.mkdir(parents=True, exist_ok=True)
    for files in (options.files // 10, options.files):
        root = Path(tempfile.mkdtemp(prefix="ferlab-listing-", dir=options.work))
        try:
            write_copy(root, files)
            found = in_fresh_process(root)
        finally:
            shutil.rmtree(root)
        if found["rows"] != files:
            sys.exit(f"{found['rows']:,} of {files:,} files were listed")
        seconds = found["signature"] + found["read"] + found["split"]
        times = (found["signature"], found["read"], found["split"], seconds)
        row = [f"{files:,}", *(f"{time_s:.1f} s" for time_s in times), f"{files / seconds:,.0f}", f"{found['mb']:,.0f}"]
        print("".join(f"{cell:>13}" for cell in (*row, f"{found['mb'] * 1e6 / files:,.0f}")))
    missed = [f"{seconds:.0f} s > {MAX_SECONDS}"] if seconds > MAX_SECONDS else []
    missed += [f"{found['mb']:.0f} MB > {MAX_MB}"] if found["mb"] > MAX_MB else []
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
