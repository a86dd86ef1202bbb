"""Speed, scaling and memory of `ferlab prepare` against one core's bare loop over the same JPEGs.

    python benchmarks/preparation.py [--images 5000 20000 45000 50000] [--work DIR]

The photos are AffectNet-like: 130 to 1500 px, about 450 on average, with grain, JPEG of quality 92, in class folders.
The bare loop decodes each in full, resizes it to 224 px (OpenCV, area) and encodes it as JPEG of quality 95, in one
thread; its rate is r. Both are taken in one run, `prepare` on two cores. Bars: see BARS. Exit code 1 when one is
missed.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil

from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.imaging.codec import shrink_for
from ferlab.imaging.face import ImageSettings, face_of_file

SETTINGS = ImageSettings(224, "rgb", "jpeg")
PHOTO_QUALITY, RECORD_QUALITY = 92, 95
FACES, FACE_PX = 300, 512
SMALLEST_PX, LARGEST_PX = 130, 1500
COARSE_GRAIN, FINE_GRAIN = 6, 3
VALIDATION_SHARE = 0.02
LOOP_IMAGES, PSNR_IMAGES = 4000, 1000
POLL_S = 1.0

STEADY_BAR, WHOLE_BAR, PSNR_BAR, MARGINAL_BAR, MEMORY_BAR = 2.2, 1.7, 33.0, 1.2, 1.2


def photos(folder: Path, count: int) -> list[Path]:
    """``count`` photos as ``train|val/<class>/<number>.jpg``, written once; those of a smaller count come first."""
    rng = np.random.default_rng(0)
    faces = [sample_face(0, index) for index in range(FACES)]
    files = []
    drawn: dict[int, np.ndarray] = {}
    for number in range(count):
        index, side = int(rng.integers(FACES)), int(np.clip(rng.lognormal(5.95, 0.55), SMALLEST_PX, LARGEST_PX))
        ratio, seed = rng.uniform(0.9, 1.2), int(rng.integers(2**32))
        part = "val" if number % round(1 / VALIDATION_SHARE) == 0 else "train"
        file = folder / part / faces[index].category / f"{number:06d}.jpg"
        files.append(file)
        if not file.exists():
            if index not in drawn:
                drawn[index] = draw_face(faces[index], FACE_PX, "rgb")[:, :, ::-1]
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_bytes(photo(drawn[index], (side, round(side * ratio)), seed))
            partial.rename(file)
    return files


def photo(face: np.ndarray, size: tuple[int, int], seed: int) -> bytes:
    """A JPEG of a face at a size, with coarse and fine grain."""
    rng = np.random.default_rng(seed)
    pixels = cv2.resize(face, size)
    grain = cv2.resize(rng.normal(0, COARSE_GRAIN, (64, 64, 3)), size)
    fine = rng.standard_normal(pixels.shape, np.float32) * FINE_GRAIN
    grainy = np.clip(pixels + grain + fine, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", grainy, [cv2.IMWRITE_JPEG_QUALITY, PHOTO_QUALITY])[1].tobytes()


def linked(files: list[Path], folder: Path, root: Path) -> Path:
    """The same files below another folder, as hard links."""
    shutil.rmtree(folder, ignore_errors=True)
    for file in files:
        link = folder / file.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, link)
    return folder


def full_decode(data: bytes) -> np.ndarray:
    """What the bare loop makes of a photo, BGR (224, 224, 3)."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.resize(pixels, (SETTINGS.size_px, SETTINGS.size_px), interpolation=cv2.INTER_AREA)


def bare_loop(files: list[Path]) -> float:
    """Images per second of one thread that decodes, resizes and encodes."""
    cv2.setNumThreads(1)
    started = time.monotonic()
    for file in files:
        cv2.imencode(".jpg", full_decode(file.read_bytes()), [cv2.IMWRITE_JPEG_QUALITY, RECORD_QUALITY])
    return len(files) / (time.monotonic() - started)


def psnr_of_scaled(files: list[Path]) -> float:
    """5th percentile of the PSNR, in dB, of photos that were decoded smaller against the full decode."""
    found = []
    for file in files:
        data = file.read_bytes()
        if shrink_for(data, SETTINGS.size_px) > 1:
            ours = face_of_file(data, SETTINGS)[:, :, ::-1].astype(np.float64)
            found.append(10 * np.log10(255**2 / np.mean((ours - full_decode(data)) ** 2)))
    return float(np.percentile(found, 5))


@dataclass(frozen=True)
class Run:
    """One preparation: images, the command's own result, seconds of the whole process, peak MB of its processes."""

    images: int
    result: dict
    process_s: float
    peak_mb: dict[str, float]


def prepare(root: Path, images: int, work: Path) -> Run:
    """Prepare ``root`` anew on two cores."""
    home = Path(tempfile.mkdtemp(dir=work))
    output = home / "prepared.json"
    command = [sys.executable, "-m", "ferlab", "prepare", "dataset=affectnet7", f"dataset.root={root}"]
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, "compute.cores=2", "--json", str(output)],
        env=os.environ | {"FERLAB_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    peak: dict[str, float] = {}
    watcher = threading.Thread(target=watch_memory, args=(process.pid, peak), daemon=True)
    watcher.start()
    if process.wait():
        sys.exit(f"ferlab prepare ended with {process.returncode}")
    seconds = time.monotonic() - started
    watcher.join()
    result = json.loads(output.read_text())
    shutil.rmtree(home, ignore_errors=True)
    return Run(images, result, seconds, peak)


def watch_memory(pid: int, peak: dict[str, float]) -> None:
    """Note the largest resident memory, in MB, of the driver, of Java, and of one Python worker, until it ends."""
    try:
        driver = psutil.Process(pid)
        while driver.is_running() and driver.status() != psutil.STATUS_ZOMBIE:
            for process in (driver, *driver.children(recursive=True)):
                try:
                    megabytes = process.memory_info().rss / 1e6
                    kind = "driver" if process.pid == pid else "java" if "java" in process.name() else "worker"
                    peak[kind] = max(peak.get(kind, 0), megabytes)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(POLL_S)
    except psutil.NoSuchProcess:
        return


def main() -> None:
    """Measure, print, and exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5_000, 20_000, 45_000, 50_000])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ferlab-bench")
    options = parser.parse_args()
    root = options.work / "photos"
    files = photos(root, max(options.images))
    some = random.Random(0).sample(files, min(LOOP_IMAGES, len(files)))
    runs: list[Run] = []
    missed: list[str] = []

    def line(name: str, value: str, bar: str, fine: bool) -> None:
        print(f"| {name} | {value} | {bar} | {'ok' if fine else 'MISSED'} |", flush=True)
        missed.extend([] if fine else [name])

    print("| what | measured | bar | |\n|---|---|---|---|")
    psnr = psnr_of_scaled(some[:PSNR_IMAGES])
    line("PSNR of scaled decode, 5th percentile", f"{psnr:.1f} dB", f">= {PSNR_BAR:g} dB", psnr >= PSNR_BAR)
    for count in sorted(options.images):
        loop = bare_loop(some)
        run = prepare(linked(files[:count], options.work / "linked", root), count, options.work)
        loop = (loop + bare_loop(some)) / 2
        runs.append(run)
        steady, whole = run.result["images_per_s"] / loop, count / run.process_s / loop
        rate = f"{run.result['images_per_s']:,.0f} img/s = {steady:.2f} r (r = {loop:.0f})"
        line(f"{count:,}: steady", rate, f">= {STEADY_BAR} r", steady >= STEADY_BAR or count < 20_000)
        seconds = f"{run.process_s:.0f} s = {whole:.2f} r"
        line(f"{count:,}: end to end", seconds, f">= {WHOLE_BAR} r at 45,000", whole >= WHOLE_BAR or count != 45_000)
        steps = ", ".join(f"{name} {spent:.1f} s" for name, spent in run.result["steps"].items())
        print(f"| {count:,}: steps | {steps} | | |")
    first, last = runs[0], runs[-1]
    if first is not last:
        costs = [1e3 / run.result["images_per_s"] for run in runs]
        spread = max(costs) / min(costs)
        shown = " / ".join(f"{cost:.2f}" for cost in costs) + " ms"
        line(
            "cost an image after start-up",
            f"{shown}, spread {spread:.2f}",
            f"<= {MARGINAL_BAR}",
            spread <= MARGINAL_BAR,
        )
        for kind in sorted(last.peak_mb):
            peaks = [run.peak_mb.get(kind, 0) for run in runs]
            shown = " / ".join(f"{peak:.0f}" for peak in peaks) + " MB"
            growth = peaks[-1] / peaks[0]
            line(f"peak memory, {kind}", f"{shown}, growth {growth:.2f}", f"<= {MEMORY_BAR}", growth <= MEMORY_BAR)
    shutil.rmtree(options.work / "linked", ignore_errors=True)
    sys.exit(f"missed: {', '.join(missed)}" if missed else None)


if __name__ == "__main__":
    main()
