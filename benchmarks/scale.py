"""What an order of examples costs, and how well it shuffles, from 50 thousand to 300 million of them.

    .venv/bin/python benchmarks/scale.py

Each row runs in a process of its own: how long until the first batch is known, memory beyond what an interpreter with
NumPy has, processor time a batch of 4,096. `computed` is the order of `vit_jax.data.order`, `kept` a permutation that
is drawn and kept, both for indices alone. `pipelined` makes whole batches as a training does, without threads, of
images of one pixel that need no decoding: all that is left is Python's work.

Then the shuffle: a source whose classes lie one after the other is read in batches; how many classes a batch holds,
beside what a true shuffle is expected to give and what a shuffle buffer of 250,000 examples gives, which is what
tf.data pipelines do within their files.
"""

import multiprocessing
import random
import resource
import time
from collections.abc import Callable
from itertools import count

import numpy as np
import rich.console
import rich.table
from repeated import Repeated

from vit_jax.data import pipeline
from vit_jax.data.images import preprocess
from vit_jax.data.order import Groups, Order

BATCH = 4096
SIZES = {"CIFAR-10": 50_000, "ImageNet": 1_281_167, "ImageNet-21k": 14_197_122, "JFT-300M": 303_000_000}
CLASSES = {"CIFAR-10": 10, "ImageNet": 1000, "ImageNet-21k": 21_841, "JFT-300M": 18_291}
BUFFER = 250_000
BATCHES = 50


def computed(size: int) -> Callable[[int], np.ndarray]:
    """Returns what gives the indices of a batch by its number."""
    order = Order(Groups(np.array([size]), np.array([1])), seed=0, batch_size=BATCH)
    return lambda step: order(np.arange(step * BATCH, (step + 1) * BATCH))


def kept(size: int) -> Callable[[int], np.ndarray]:
    """As `computed`, from one permutation held in memory; within the first epoch."""
    permutation = np.random.default_rng(0).permutation(size)
    return lambda step: permutation[(step * BATCH) % size :][:BATCH]


def buffered(size: int) -> Callable[[int], np.ndarray]:
    """As `computed`, from the source's order through a shuffle buffer; batches must be asked for in turn."""
    draw = random.Random(0)
    buffer, following = list(range(min(BUFFER, size))), count(BUFFER)

    def batch(_: int) -> np.ndarray:
        rows = []
        for _ in range(BATCH):
            place = draw.randrange(len(buffer))
            rows.append(buffer[place])
            buffer[place] = next(following) % size
        return np.array(rows)

    return batch


def pipelined(size: int) -> Callable[[int], dict[str, np.ndarray]]:
    """Returns what gives a whole batch by its number."""
    pixel = np.zeros((1, 1, 3), np.uint8)
    return pipeline.training(
        Repeated([pixel], size), preprocess.build("squash", (1, 1)), BATCH, seed=0, threads=0
    ).__getitem__


def cost(way: Callable[[int], Callable[[int], object]], size: int) -> tuple[float, float, float]:
    """Returns seconds to the first batch, MiB of memory, and milliseconds a batch after it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    batch = way(size)
    batch(0)
    first = time.perf_counter() - started
    started = time.process_time()
    for step in range(1, BATCHES + 1):
        batch(step)
    each = (time.process_time() - started) / BATCHES
    return first, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, each * 1000


def distinct(way: Callable[[int], Callable[[int], np.ndarray]], size: int, classes: int) -> float:
    """Returns how many classes a batch holds on average, where they lie one after the other, equally large."""
    batch = way(size)
    return float(np.mean([len(np.unique(batch(step) * classes // size)) for step in range(BATCHES)]))


def main() -> None:
    """Prints the two tables."""
    console = rich.console.Console(width=120)
    costs = rich.table.Table("examples", "order", "first batch, s", "memory, MiB", "ms a batch", "µs an example")
    shuffles = rich.table.Table("examples", "classes", "a true shuffle", "computed", "a buffer of 250,000")
    for name, size in SIZES.items():
        for way in (computed, kept, pipelined):
            with multiprocessing.get_context("spawn").Pool(1) as process:
                first, memory, each = process.apply(cost, (way, size))
            row = f"{name} {size:,}", way.__name__, f"{first:.3f}", f"{memory:.1f}", f"{each:.2f}"
            costs.add_row(*row, f"{each * 1000 / BATCH:.2f}")
        classes = CLASSES[name]
        expected = classes * (1 - (1 - 1 / classes) ** BATCH)
        found = [f"{distinct(way, size, classes):,.1f}" for way in (computed, buffered)]
        shuffles.add_row(f"{name} {size:,}", f"{classes:,}", f"{expected:,.1f}", *found)
    console.print(costs, shuffles)


if __name__ == "__main__":
    main()
