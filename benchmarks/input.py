"""How many images a second one core makes for training: here, by tf.data as the peers use it, and by Pillow in threads.

    pip install -e .[fast,golden]    # tensorflow-cpu is for the peers alone
    python benchmarks/input.py [--data FOLDER] [--seconds 2] [--rounds 5]

Everywhere the same work: an encoded JPEG from memory, an Inception crop of 5% to 100% of its area, bilinear resizing,
a flip, a batch. From 500 x 375 to 224 pixels: pictures of 1/f noise and sharp-edged things (tests/photos.py), quality
90, about 97 KB each. With --data, from its JPEGs (CIFAR-10's, say) to 384 pixels, as configs/finetune.py, and to 32.

Every way runs in a process of its own, pinned to one core and again to two, and they take turns in several rounds. By
one core the figure is images per second of processor time, of all threads; by two, per second on the clock. Ratios are
to big_vision's in the same round: the median, the least and the most. A turn lasts from nothing to the last of so many
batches, so that none is counted which was made before it.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.features
import PIL.Image
from repeated import Repeated
from tf_data import BATCH, Start, Way, big_vision, google_research

from vit_jax.data import pipeline
from vit_jax.data.images import Image, preprocess
from vit_jax.data.images.picture import Picture

PHOTOS = 64
FEWER = 25  # of the files in a folder, one in so many


def ours(decoder: str) -> Way:
    """Returns the way of this project, from a source to batches."""

    def way(files: list[bytes], size: int, threads: int) -> Start:
        return piped(files, preprocess.build("inception_crop", (size, size), decoder=decoder), threads)

    return way


def piped(files: list[bytes], transform: preprocess.Transform, threads: int) -> Start:
    """Returns what makes this project's batches."""
    batches = pipeline.training(Repeated(files), transform, BATCH, 0, threads)

    def start(count: int) -> Iterator[object]:
        batches.steps = count
        return iter(batches)

    return start


class Nothing:
    """All that Python does for an Inception crop, and no pixel."""

    def __init__(self, size: int):
        self.crop = preprocess.InceptionCrop((size, size))
        self.image = np.zeros((size, size, 3), np.uint8)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Image:
        """Returns the same image always."""
        width, height = picture.size
        self.crop.draw_box(height, width, rng)
        rng.random()
        return self.image


def nothing(files: list[bytes], size: int, threads: int) -> Start:
    """The pipeline of this project around a decoder that does nothing: what Python and the copying cost."""
    return piped(files, Nothing(size), threads)


def pillow(files: list[bytes], size: int, threads: int) -> Start:
    """Pillow in threads, as torchvision's RandomResizedCrop and flip call it; antialiased."""
    crop = preprocess.InceptionCrop((size, size))

    def image(number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        picture = PIL.Image.open(io.BytesIO(files[number % len(files)])).convert("RGB")
        picture = picture.crop(crop.draw_box(picture.height, picture.width, rng))
        picture = picture.resize((size, size), PIL.Image.Resampling.BILINEAR)
        if rng.random() < 0.5:
            picture = picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(picture)

    def start(count: int) -> Iterator[object]:
        with ThreadPoolExecutor(threads) as pool:
            for first in range(0, count * BATCH, BATCH):
                yield np.stack(list(pool.map(image, range(first, first + BATCH))))

    return start


class Contestant(NamedTuple):
    """A way, and the packages that it takes, whose versions are printed."""

    way: Way
    packages: tuple[str, ...]


REFERENCE = "tf.data, big_vision"
CONTESTANTS = {
    REFERENCE: Contestant(big_vision(antialias=False, to_float=False), ("tensorflow",)),
    "the same, to float32": Contestant(big_vision(antialias=False, to_float=True), ("tensorflow",)),
    "the same, antialiased": Contestant(big_vision(antialias=True, to_float=False), ("tensorflow",)),
    "tf.data, google-research": Contestant(google_research, ("tensorflow",)),
    "Pillow in threads": Contestant(pillow, ("PIL",)),
    'vit_jax, decoder "pil"': Contestant(ours("pil"), ("PIL",)),
    'vit_jax, decoder "fast"': Contestant(ours("fast"), ("simplejpeg", "cykooz_resizer")),
    "vit_jax, nothing decoded": Contestant(nothing, ("numpy",)),
}


class Turn(NamedTuple):
    """What a way did in its turn: images, seconds of processor time and on the clock."""

    images: int
    processor: float
    clock: float


class Process:
    """A process that makes batches in one way, when it is its turn."""

    def __init__(self, name: str, files: Path, size: int, cores: int):
        command = [sys.executable, __file__, "--child", name, str(files), str(size), str(cores)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self, batches: int) -> Turn:
        """Returns what so many batches took."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{batches}\n")
        self.process.stdin.flush()
        return Turn(*json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        """Ends it."""
        self.process.communicate()


def child(name: str, files: str, size: str, cores: str) -> None:
    """Takes a turn for every line of standard input, which says how many batches to make."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(cores) :])
    start = CONTESTANTS[name].way(pickle.loads(Path(files).read_bytes()), int(size), int(cores))
    for line in sys.stdin:
        started = start(int(line))
        processor, clock = time.process_time(), time.perf_counter()
        batches = sum(1 for _ in started)
        turn = Turn(batches * BATCH, time.process_time() - processor, time.perf_counter() - clock)
        print(json.dumps(turn), flush=True)


Turns = dict[str, list[Turn]]  # by way, in the order of rounds


def measured(names: list[str], files: Path, size: int, cores: int, seconds: float, rounds: int) -> Turns:
    """Returns the turns of every way, of as many batches as take it about so many seconds."""
    processes = {name: Process(name, files, size, cores) for name in names}
    batches = {}
    for name, process in processes.items():
        process.turn(2)  # which loads and compiles
        batches[name] = max(4, round(seconds * rate(process.turn(8), cores) / BATCH))
    turns = {name: [] for name in names}
    for _ in range(rounds):
        for name, process in processes.items():
            turns[name].append(process.turn(batches[name]))
    for process in processes.values():
        process.end()
    return turns


def photos() -> list[bytes]:
    """Returns JPEGs of 500 x 375 pixels."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    made, rng = importlib.import_module("photos"), np.random.default_rng(0)
    return [made.encoded(made.photo(375, 500, rng), quality=90) for _ in range(PHOTOS)]


def rate(turn: Turn, cores: int) -> float:
    """Returns images a second: of processor time, or on the clock of several cores."""
    return turn.images / (turn.processor if cores == 1 else turn.clock)


def cells(turns: Turns, name: str, cores: int) -> str:
    """Returns images a second, and the ratio to the reference, as two cells of a table's row."""
    rates = [rate(turn, cores) for turn in turns[name]]
    if REFERENCE not in turns:
        return f"{statistics.median(rates):,.0f} | –"
    ratios = [ours / rate(turn, cores) for ours, turn in zip(rates, turns[REFERENCE], strict=True)]
    extremes = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    return f"{statistics.median(rates):,.0f} | {extremes}"


def main() -> None:
    """Prints a table for each kind of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder of JPEGs, in folders or not")
    parser.add_argument("--seconds", type=float, default=2, help="of a turn (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (default 5)")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    names = [name for name, each in CONTESTANTS.items() if all(map(importlib.util.find_spec, each.packages))]
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores; {versions(names)}")
    kinds = [("500 x 375, 224", photos(), 224)]
    if given.data:
        files = [path.read_bytes() for path in sorted(Path(given.data).rglob("*.jp*g"))[::FEWER]]
        kinds += [(f"{given.data}, 384", files, 384), (f"{given.data}, 32", files, 32)]
    for title, files, size in kinds:
        print(
            f"\n{title} pixels; {len(files):,} files of {statistics.mean(map(len, files)) / 1000:.1f} KB on average\n"
        )
        print("| | images/s of one core | ratio | images/s by two cores | ratio |\n|---|---|---|---|---|")
        with tempfile.NamedTemporaryFile() as place:
            Path(place.name).write_bytes(pickle.dumps(files))
            both = [measured(names, Path(place.name), size, cores, given.seconds, given.rounds) for cores in (1, 2)]
        for name in names:
            print(f"| {name} | {cells(both[0], name, 1)} | {cells(both[1], name, 2)} |", flush=True)


def versions(names: list[str]) -> str:
    """Returns what these ways are made of, with its version."""
    modules = {package for name in names for package in CONTESTANTS[name].packages}
    distributions = importlib.metadata.packages_distributions()
    named = {distribution for module in modules for distribution in distributions[module]}
    listed = [f"{each} {importlib.metadata.version(each)}" for each in sorted(named)]
    return ", ".join([*listed, f"libjpeg-turbo {PIL.features.version_feature('libjpeg_turbo')} in Pillow"])


if __name__ == "__main__":
    main()
