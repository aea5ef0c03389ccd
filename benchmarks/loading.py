"""How long until published weights are ready, and how much memory does it take: here, and in timm?

    ./run.sh parity --collect-only -q    # installs timm and torch
    .venv/bin/python benchmarks/loading.py [--sizes B/16,L/16] [--rounds 5]

For each size timm makes a model and writes it as it publishes them (config.json and model.safetensors). Then, in turn
and each in a process of its own: timm's create_model("local-dir:…", pretrained=True), and vit_jax's load of the same
folder with every parameter put on the device. Imports are not counted, nor the first touch of the disk: all read a file
that the system has cached. Prints the median and the extremes of the seconds, and by how much the peak memory rose.
"""

import argparse
import importlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

ARCHITECTURES = {"B/16": "vit_base_patch16_224", "L/16": "vit_large_patch16_224"}


def main() -> int:
    """Prints the table; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(ARCHITECTURES), help="with commas between them (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(*given.child)))
        return 0
    print(f"{'size':6}{'':9}{'seconds (least, most)':>26}{'peak memory rose by':>22}")
    for size in given.sizes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            write(size, folder)
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in READERS}
            for _ in range(given.rounds):
                for name, rows in found.items():
                    command = [sys.executable, __file__, "--child", name, folder]
                    rows.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
        for name, rows in found.items():
            seconds, memory = zip(*rows, strict=True)
            times = f"{statistics.median(seconds):.2f} ({min(seconds):.2f}, {max(seconds):.2f})"
            print(f"{size:6}{name:9}{times:>26}{statistics.median(memory):>18.0f} MiB", flush=True)
    return 0


def write(size: str, folder: str) -> None:
    """Writes timm's model of this size, as drawn by timm, into `folder`."""
    library = timm()
    library.models.save_for_hf(library.create_model(ARCHITECTURES[size]), folder, safe_serialization=True)


def measured(name: str, folder: str) -> tuple[float, float]:
    """Returns the seconds that a reader takes, and by how many MiB it raises the peak of this process's memory."""
    read = READERS[name]()
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    kept = read(folder)
    seconds = time.perf_counter() - started
    assert kept
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def timm_reader() -> Callable[[str], object]:
    """Returns what reads a folder with timm, everything imported."""
    library = timm()
    return lambda folder: library.create_model(f"local-dir:{folder}", pretrained=True).eval()


def our_reader() -> Callable[[str], object]:
    """Returns what reads a folder here, everything imported and the device begun."""
    jax = importlib.import_module("jax")
    start = importlib.import_module("vit_jax.train.start")
    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    return lambda folder: jax.block_until_ready(jax.device_put(start.trained(folder).parameters))


def timm() -> Any:
    """Returns the library, which is imported whether torchvision can be or not."""
    return importlib.import_module("vit_jax.weights.references.timm").timm()


READERS = {"timm": timm_reader, "vit_jax": our_reader}

if __name__ == "__main__":
    sys.exit(main())
