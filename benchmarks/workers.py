"""Threads or worker processes: how many images a second either makes, and what it costs.

    .venv/bin/python benchmarks/workers.py [--seconds 4] [--rounds 3]

The batches of a training (Inception crop to 224 pixels, 256 a batch) from JPEGs in memory of 32 x 32 and of 500 x 375
pixels, made here of smooth noise, and from images of one pixel, which leave nothing but Python's work. In turn, several
rounds; the median. Processor time is that of all threads and processes. Starting them is not counted.
"""

import argparse
import io
import os
import resource
import statistics
import time
from itertools import islice

import numpy as np
import PIL.Image
import rich.console
import rich.table
from repeated import Repeated

from vit_jax.data import pipeline
from vit_jax.data.images import preprocess

BATCH = 256
WAYS = {
    "asked for": {"threads": 0},
    "1 thread": {"threads": 1},
    "2 threads": {"threads": 2},
    "4 threads": {"threads": 4},
    "16 threads": {"threads": 16},
    "1 process": {"processes": 1},
    "2 processes": {"processes": 2},
    "4 processes": {"processes": 4},
}


def jpegs(width: int, height: int) -> Repeated:
    """Returns a hundred JPEGs of this size as a source; of one pixel, not encoded, where the width is 1."""
    rng = np.random.default_rng(0)
    return Repeated([smooth_noise(width, height, rng) for _ in range(100)])


def smooth_noise(width: int, height: int, rng: np.random.Generator) -> bytes | np.ndarray:
    """Returns a JPEG of quality 90 with detail at every scale, or its only pixel."""
    if width == 1:
        return rng.integers(0, 256, (1, 1, 3), np.uint8)
    picture = np.zeros((height, width, 3), np.float32)
    for scale in (1, 2, 4, 8, 16, 32):
        coarse = rng.normal(size=(height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        layers = [
            PIL.Image.fromarray(coarse[..., c]).resize((width, height), PIL.Image.Resampling.BICUBIC) for c in range(3)
        ]
        picture += np.stack([np.asarray(layer) for layer in layers], -1) * scale**0.75
    file = io.BytesIO()
    PIL.Image.fromarray((128 + 12 * picture).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def measured(source: Repeated, way: dict[str, int], size: int, seconds: float) -> tuple[float, float]:
    """Returns images a second, and processor microseconds an image."""
    transform = preprocess.build("inception_crop" if size > 1 else "squash", (size, size))
    batches = pipeline.training(source, transform, BATCH, 0, way.get("threads", 0), way.get("processes", 0))
    with batches.since(0) as ahead:
        for _ in islice(ahead, 4):
            pass
        spent, started, images = processor(), time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            images += len(next(ahead)["label"])
        wall = time.perf_counter() - started
        own = processor() - spent
    return images / wall, 1e6 * own / images


def processor() -> float:
    """Returns the processor time of this process and of the children that it has now, in seconds."""
    tick, total = os.sysconf("SC_CLK_TCK"), 0.0
    for child in open(f"/proc/self/task/{os.getpid()}/children").read().split():
        fields = open(f"/proc/{child}/stat").read().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / tick
    used = resource.getrusage(resource.RUSAGE_SELF)
    return total + used.ru_utime + used.ru_stime


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="of them in turn (default 3)")
    given = parser.parse_args()
    kinds = {"500 x 375": (jpegs(500, 375), 224), "32 x 32": (jpegs(32, 32), 224), "one pixel": (jpegs(1, 1), 1)}
    found = {(kind, way): [] for kind in kinds for way in WAYS}
    for _ in range(given.rounds):
        for kind, way in found:
            source, size = kinds[kind]
            found[kind, way].append(measured(source, WAYS[way], size, given.seconds))
    columns = [f"{kind}: {what}" for kind in kinds for what in ("images/s", "µs CPU")]
    table = rich.table.Table("made by", *columns, title=f"{os.cpu_count()} cores, {BATCH} images a batch")
    for way in WAYS:
        rows = [tuple(map(statistics.median, zip(*found[kind, way], strict=True))) for kind in kinds]
        table.add_row(way, *(text for rate, cpu in rows for text in (f"{rate:,.0f}", f"{cpu:,.0f}")))
    rich.console.Console(width=120).print(table)


if __name__ == "__main__":
    main()
