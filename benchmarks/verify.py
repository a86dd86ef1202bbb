"""Time and memory of `ferlab verify`: on AffectNet's manual layout at two sizes, and on a copy of FER-2013 of yours.

    python benchmarks/verify.py [--rows 30000 300000] [--fer2013 DIR] [--work DIR]

Drawn faces are kept below --work, so a second call starts at once. Bars: 300,000 rows within 3 GB and within 15 times
the time of 30,000; FER-2013 within 60 s and 2 GB.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

FACE_PX = 32
POLL_S = 0.05
MAX_SECONDS, MAX_GB, MAX_GB_LARGE, MAX_GROWTH = 60, 2.0, 3.0, 15


def measured(overrides: list[str], home: Path) -> dict[str, Any]:
    """Run `ferlab verify` once; seconds, peak memory in GB of the process and its children, verdict."""
    output = home / "verify.json"
    command = [sys.executable, "-m", "ferlab", "verify", *overrides, "--json", str(output)]
    started = time.monotonic()
    process = subprocess.Popen(command, env=os.environ | {"FERLAB_HOME": str(home)}, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(POLL_S)
    seconds = time.monotonic() - started
    if process.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)}: exit {process.returncode}")
    result = json.loads(output.read_text())
    return {"seconds": seconds, "gb": peak / 1e9, "verdict": result["verdict"], "images": result["images"]["total"]}


def memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    try:
        parent = psutil.Process(pid)
        return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True)))
    except psutil.Error:
        return 0


def drawn(work: Path, rows: int) -> Path:
    """AffectNet's manual layout with that many rows of small photos."""
    folder = work / f"affectnet-manual-{rows}-{FACE_PX}px"
    if not folder.exists():
        overrides = ["layout=affectnet-manual", f"out={folder}", f"count={rows}", f"size_px={FACE_PX}"]
        subprocess.run([sys.executable, "-m", "ferlab", "synth", *overrides], check=True)
    return folder


def main() -> None:
    """Measure, print, and exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[30_000, 300_000])
    parser.add_argument("--fer2013", type=Path, help="folder with a copy of FER-2013")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ferlab-bench")
    options = parser.parse_args()
    os.environ.setdefault("FERLAB_HOME", str(options.work / "home"))
    home = Path(tempfile.mkdtemp(prefix="ferlab-verify-"))
    missed = []
    try:
        runs = [(f"{rows:,} rows", ["dataset=affectnet8", f"dataset.root={drawn(options.work, rows)}"], MAX_GB_LARGE)
                for rows in options.rows]  # fmt: skip
        if options.fer2013:
            runs.append(("FER-2013", ["dataset=fer2013", f"dataset.root={options.fer2013}"], MAX_GB))
        times = []
        for name, overrides, max_gb in runs:
            found = measured(overrides, home)
            cost = f"{found['seconds']:6.1f} s  {found['gb']:.2f} GB"
            print(f"{name:>14}: {cost}  {found['images']:,} images  {found['verdict']}")
            times.append(found["seconds"])
            missed += [f"{name}: {found['gb']:.2f} GB > {max_gb}"] if found["gb"] > max_gb else []
        if options.fer2013 and times[-1] > MAX_SECONDS:
            missed.append(f"FER-2013: {times[-1]:.0f} s > {MAX_SECONDS}")
        if len(options.rows) == 2:
            growth, wanted = times[1] / times[0], options.rows[1] / options.rows[0]
            print(f"{wanted:.0f} times the rows took {growth:.1f} times as long")
            missed += [f"growth {growth:.1f} > {MAX_GROWTH}"] if growth > MAX_GROWTH else []
    finally:
        shutil.rmtree(home, ignore_errors=True)
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
