"""Speed of `ferlab prepare` against one core's bare loop over the same JPEGs.

    python benchmarks/preparation.py [--images 20000 45000] [--work DIR]

The photos are AffectNet-like: 130 to 1500 px, about 450 on average, JPEG of quality 92, in class folders. The bare loop
decodes each in full, resizes it to 224 px and encodes it as JPEG of quality 95, in one thread; its rate is r. Both are
taken in one run. Bars: steady rate on two cores at least 2.2 r, the largest set end to end at least 1.7 r, Spark's
start included.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face

SIZE_PX, PHOTO_QUALITY, RECORD_QUALITY = 224, 92, 95
FACES, FACE_PX = 300, 512
SMALLEST_PX, LARGEST_PX = 130, 1500
VALIDATION_SHARE = 0.02
LOOP_IMAGES = 4000
STEADY_BAR, WHOLE_BAR = 2.2, 1.7


def photos(folder: Path, count: int) -> Path:
    """Write ``count`` photos as ``train|val/<class>/<number>.jpg``, once."""
    if folder.exists():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    rng = np.random.default_rng(0)
    faces = [sample_face(0, index) for index in range(FACES)]
    drawn = [draw_face(face, FACE_PX, "rgb")[:, :, ::-1] for face in faces]
    for number in range(count):
        index = int(rng.integers(FACES))
        side = int(np.clip(rng.lognormal(5.95, 0.55), SMALLEST_PX, LARGEST_PX))
        photo = cv2.resize(drawn[index], (side, round(side * rng.uniform(0.9, 1.2))))
        grain = rng.normal(0, 6, (64, 64, 3))
        photo = cv2.add(photo, cv2.resize(grain, photo.shape[1::-1]).astype(np.int16), dtype=cv2.CV_8U)
        part = "val" if number < count * VALIDATION_SHARE else "train"
        file = partial / part / faces[index].category / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, PHOTO_QUALITY])[1].tobytes())
    partial.rename(folder)
    return folder


def bare_loop(files: list[Path]) -> float:
    """Images per second of one thread that decodes, resizes and encodes."""
    cv2.setNumThreads(1)
    started = time.monotonic()
    for file in files:
        pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
        small = cv2.resize(pixels, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
        cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, RECORD_QUALITY])
    return len(files) / (time.monotonic() - started)


def prepare(root: Path, work: Path) -> dict[str, float]:
    """Prepare ``root`` anew on two cores; the command's own result and the seconds of the whole process."""
    home = Path(tempfile.mkdtemp(dir=work))
    output = home / "prepared.json"
    command = [sys.executable, "-m", "ferlab", "prepare", "dataset=affectnet7", f"dataset.root={root}"]
    started = time.monotonic()
    try:
        subprocess.run(
            [*command, "compute.cores=2", "--json", str(output)],
            env=os.environ | {"FERLAB_HOME": str(home)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.monotonic() - started
        return json.loads(output.read_text()) | {"process_s": seconds}
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Measure, print, and exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[20_000, 45_000])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ferlab-bench")
    options = parser.parse_args()
    missed = []
    for count in sorted(options.images):
        root = photos(options.work / f"photos-{count}", count)
        files = sorted(root.rglob("*.jpg"))
        sides = [max(cv2.imread(str(file), cv2.IMREAD_COLOR).shape[:2]) for file in files[:: max(count // 500, 1)]]
        loop = bare_loop(random.Random(0).sample(files, min(LOOP_IMAGES, count)))
        done = prepare(root, options.work)
        steady, whole = done["images_per_s"] / loop, count / done["process_s"] / loop
        print(f"{count:,} photos, longer side {np.mean(sides):.0f} px on average; r = {loop:.0f} images/s")
        print(f"  steady {done['images_per_s']:,.0f} images/s = {steady:.2f} r")
        print(f"  end to end {done['process_s']:.0f} s = {count / done['process_s']:,.0f} images/s = {whole:.2f} r")
        missed += [f"{count:,}: steady {steady:.2f} r < {STEADY_BAR}"] if steady < STEADY_BAR else []
    missed += [f"end to end {whole:.2f} r < {WHOLE_BAR}"] if whole < WHOLE_BAR else []
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
