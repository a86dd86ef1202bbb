"""`ferlab predict` measured: the crop against the training crop, speed against `fer`, memory over a long video.

    python benchmarks/predicting.py crops --faces FILE.parquet --run ID
    python benchmarks/predicting.py speed --faces FILE.parquet --run ID --fer-python PYTHON
    python benchmarks/predicting.py video --run ID [--frames 20000]

--faces: real FER-2013 rows as Parquet (columns usage, emotion, png). They are set into canvases of 640x480, drawn anew
with a fixed seed. --fer-python: the interpreter of an environment of its own with `fer`, `opencv-contrib-python<5` and
`setuptools<81`. FERLAB_HOME names the store of the run. Bars: three times as many faces a second as `fer`; a video of
20,000 frames within 1.5 GB, without a slope over its last three quarters.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow.parquet as pq

from ferlab.config.files import config_root, ferlab_home
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.inference.detection import FaceDetector, Found
from ferlab.inference.faces import images_of, settings_of
from ferlab.inference.predictor import Predictor

WIDTH, HEIGHT = 640, 480
SCALES = (0.80, 0.85, 0.90, 0.93, 0.96, 1.00, 1.04, 1.10, 1.20)
FASTER, MOST_GB, MOST_SLOPE_MB = 3.0, 1.5, 10.0
FER_SCRIPT = """
import sys, time, cv2
from pathlib import Path
from fer.fer import FER
files = sorted(Path(sys.argv[1]).glob("*.png"))
detector = FER()
detector.detect_emotions(cv2.imread(str(files[0])))
started = time.perf_counter()
found = sum(len(detector.detect_emotions(cv2.imread(str(file)))) for file in files)
print(found, time.perf_counter() - started)
"""


def canvases(faces: Path, count: int) -> tuple[list[np.ndarray], list[np.ndarray], list[tuple[int, int, int]], Any]:
    """Gray canvases with a PublicTest face each, the faces (48, 48), their places (x, y, side), their labels."""
    rng = np.random.default_rng(0)
    rows = pq.read_table(faces, columns=["usage", "emotion", "png"])
    public = np.flatnonzero(np.array(rows["usage"].to_pylist()) == "PublicTest")
    chosen = rng.permutation(public)[:count]
    pictures, originals, places = [], [], []
    for row in chosen:
        face = cv2.imdecode(np.frombuffer(rows["png"][int(row)].as_buffer(), np.uint8), cv2.IMREAD_GRAYSCALE)
        side = int(rng.integers(80, 240))
        x, y = int(rng.integers(10, WIDTH - side - 10)), int(rng.integers(10, HEIGHT - side - 10))
        coarse = rng.integers(40, 200, (6, 8), dtype=np.uint8)
        ground = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float64)
        canvas = np.clip(ground + rng.normal(0, 4, ground.shape), 0, 255).astype(np.uint8)
        canvas[y : y + side, x : x + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        pictures.append(canvas)
        originals.append(face)
        places.append((x, y, side))
    return pictures, originals, places, np.array(rows["emotion"].to_pylist())[chosen]


def inside(found: list[Found], place: tuple[int, int, int]) -> list[Found]:
    """The detections whose middle lies in the face."""
    x, y, side = place
    middles = [(one, one.box[0] + one.box[2] / 2, one.box[1] + one.box[3] / 2) for one in found]
    return [one for one, mx, my in middles if x < mx < x + side and y < my < y + side]


def predictor(run: str, runtime: str) -> Predictor:
    """The model of a run in the store of FERLAB_HOME."""
    from ferlab.tracking.store import connect

    connect(ferlab_home(), config_root())
    return Predictor.from_run(run, runtime)


def crops(options: argparse.Namespace) -> None:
    """How often faces are found, how boxes stand to the training crop, accuracy by the scale of the cut."""
    pictures, originals, places, labels = canvases(options.faces, options.count or 3589)
    asked = predictor(options.run, options.runtime)
    runtime, settings = asked._pipeline.runtime, settings_of(asked.description)
    detector = FaceDetector()
    all_found = [detector.find(np.repeat(picture[:, :, None], 3, axis=2)) for picture in pictures]
    hits = [inside(found, place) for found, place in zip(all_found, places, strict=True)]
    kept = np.array([bool(hit) for hit in hits])
    extra = sum(len(found) - bool(hit) for found, hit in zip(all_found, hits, strict=True))
    print(f"{len(pictures):,} canvases: found {100 * kept.mean():.1f} %, {extra} other detections")
    best = [max(hit, key=lambda one: one.score) for hit in hits if hit]
    boxes = np.array([one.box for one in best])
    true = np.array([place for place, keep in zip(places, kept, strict=True) if keep], float)
    ratio = boxes[:, 2:].max(axis=1) / true[:, 2]
    shift = (boxes[:, :2] + boxes[:, 2:] / 2 - true[:, :2]) / true[:, 2:] - 0.5
    print(f"box / training crop: {np.quantile(ratio, (0.1, 0.5, 0.9)).round(3)}, inverse {1 / np.median(ratio):.3f}")
    print(f"middle off by (shares of the side): {np.median(shift, axis=0).round(3)}")
    answers = runtime.probabilities(np.stack(originals)[:, :, :, None])
    print(f"accuracy on the 48 px themselves: {100 * np.mean(answers.argmax(axis=1)[kept] == labels[kept]):.2f}")
    chosen = [picture for picture, keep in zip(pictures, kept, strict=True) if keep]
    for scale in SCALES:
        images = [images_of(picture, [one], settings, scale)[1] for picture, one in zip(chosen, best, strict=True)]
        right = runtime.probabilities(np.concatenate(images)).argmax(axis=1) == labels[kept]
        print(f"box_scale {scale:.2f}: {100 * right.mean():.2f}", flush=True)


def speed(options: argparse.Namespace) -> str | None:
    """Faces a second from files to answers, after a first picture; what is missed of the bar."""
    count = options.count or 200
    with tempfile.TemporaryDirectory() as folder:
        for number, picture in enumerate(canvases(options.faces, count)[0]):
            cv2.imwrite(f"{folder}/{number:04}.png", picture)
        asked = predictor(options.run, options.runtime)
        asked.photo(f"{folder}/0000.png")
        ours, theirs = [], []
        for _ in range(options.rounds):
            started = time.perf_counter()
            found = sum(len(answer.faces) for answer in asked.folder(folder))
            ours.append((found, time.perf_counter() - started))
            command = [options.fer_python, "-c", FER_SCRIPT, folder]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            theirs.append((int(said[-2]), float(said[-1])))
    rates = []
    for name, runs in (("ferlab", ours), ("fer", theirs)):
        rates.append(float(np.median([found / seconds for found, seconds in runs])))
        print(f"{name:>6}: {runs[0][0]} of {count} faces, {rates[-1]:.1f} faces/s (median of {len(runs)})")
    print(f"ratio {rates[0] / rates[1]:.2f}")
    return (
        f"{rates[0] / rates[1]:.2f} times as many faces a second < {FASTER}" if rates[0] < FASTER * rates[1] else None
    )


def drawn_video(file: Path, frames: int) -> None:
    """A 720p video of two drawn faces that move, one of whom leaves now and then."""
    faces = [draw_face(sample_face(0, index), 260, "rgb") for index in range(24)]
    out = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 25, (1280, 720))
    ground = cv2.resize(
        np.random.default_rng(0).integers(60, 180, (9, 16, 3), dtype=np.uint8),
        (1280, 720),
        interpolation=cv2.INTER_CUBIC,
    )
    for number in range(frames):
        frame = ground.copy()
        x = 80 + int(60 * np.sin(number / 40))
        frame[200:460, x : x + 260] = faces[number // 25 % len(faces)]
        if number % 500 < 350:
            y = 240 + int(80 * np.cos(number / 55))
            frame[y : y + 260, 800:1060] = faces[(number // 25 + 7) % len(faces)]
        out.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    out.release()


def video(options: argparse.Namespace) -> str | None:
    """Memory of `ferlab predict` over a long video; what is missed of the bars."""
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        file = Path(options.video) if options.video else Path(folder) / "long.mp4"
        if not options.video:
            drawn_video(file, options.frames)
        which = f"model={options.model}" if options.model else f"run={options.run}"
        command = [sys.executable, "-m", "ferlab", "predict", which, f"input={file}", f"out={folder}/out"]
        command += [f"video.every={options.every}", f"annotate={str(options.annotate).lower()}"]
        begun, table = time.monotonic(), Path(folder) / "out" / "predictions.csv"
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        seconds, used = [], []
        while process.poll() is None:
            if table.exists() and table.stat().st_size:
                seconds.append(time.monotonic() - begun)
                used.append(psutil.Process(process.pid).memory_info().rss / 1e6)
            time.sleep(0.5)
        print(process.communicate()[0], end="")
    if process.returncode:
        return f"exit {process.returncode}"
    quarter = len(used) // 4
    slope = np.polyfit(seconds[quarter:], used[quarter:], 1)[0] * (seconds[-1] - seconds[quarter])
    print(f"{seconds[-1]:.0f} s, at most {max(used):.0f} MB; over the last three quarters {slope:+.1f} MB")
    print("MB at each tenth:", [round(used[len(used) * tenth // 10]) for tenth in range(10)], round(used[-1]))
    if max(used) > 1000 * MOST_GB:
        return f"{max(used):.0f} MB > {MOST_GB} GB"
    return f"memory grew by {slope:.1f} MB > {MOST_SLOPE_MB}" if slope > MOST_SLOPE_MB else None


def main() -> None:
    """Measure, print, and exit with 1 when a bar is missed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("crops", "speed", "video"))
    parser.add_argument("--faces", type=Path, help="FER-2013 rows as Parquet")
    parser.add_argument("--run", help="a run of FERLAB_HOME's store")
    parser.add_argument("--runtime", default="keras")
    parser.add_argument("--model", help="for video: an exported file instead of a run")
    parser.add_argument("--count", type=int, help="canvases")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fer-python", help="interpreter of an environment with fer")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--annotate", action="store_true")
    parser.add_argument("--video", help="a video instead of a drawn one")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    sys.exit({"crops": crops, "speed": speed, "video": video}[options.what](options))


if __name__ == "__main__":
    main()
