"""Does learning without labels help where labels are few? Masked patches and the masked autoencoder against scratch.

    python benchmarks/self_supervised.py --seeds 3 --workdir runs/self-supervised

A small network learns all 1,097 training digits without their labels, then, with a new head, 100 labelled ones; and
those 100 from scratch, in as many steps. Each way takes the learning rate with which it did best on the 200 validation
digits (seed 0); mean and standard deviation over the seeds are of the 500 test digits. Restartable, as the runs are.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import rich.console
import rich.table

from vit_jax.tools import comparison, findings
from vit_jax.tools.compilation import keep_compiled
from vit_jax.train import loop
from vit_jax.train.config import Config

LABELS, SIZE = 100, 24  # pixels; patches of 4
PRETRAINING = {
    "masked patches": {"kind": "masked_patches", "target": "mean_color"},
    "masked autoencoder": {
        "kind": "masked_autoencoder",
        "decoder_width": 32,
        "decoder_depth": 2,
        "decoder_heads": 4,
    },
}
WAYS = (*PRETRAINING, "scratch")
RATES = (1e-3, 3e-3, 6e-3)


def main() -> int:
    """Runs every seed; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on (default 3)")
    parser.add_argument("--steps", type=int, default=2000, help="of pre-training, 64 digits each (default 2000)")
    parser.add_argument("--workdir", type=Path, default=Path("runs/self-supervised"), help="a folder a run in it")
    given = parser.parse_args()

    keep_compiled()
    started = time.perf_counter()
    rows = rich.table.Table("way", "learning rate", *(f"seed {seed}" for seed in range(given.seeds)), "test")
    for way in WAYS:
        for seed in range(given.seeds):
            if way in PRETRAINING:
                pretrain(way, seed, given.steps, given.workdir)
        on_validation = {rate: tune(way, 0, rate, "val", given.workdir) for rate in RATES}
        said = ", ".join(f"{rate:g}: {share:.1f}" for rate, share in on_validation.items())
        print(f"{way}, validation: {said}", flush=True)
        best = max(on_validation, key=on_validation.__getitem__)
        shares = [tune(way, seed, best, "test", given.workdir) for seed in range(given.seeds)]
        deviation = statistics.stdev(shares) if len(shares) > 1 else 0.0
        spread = f"{statistics.mean(shares):.1f} ± {deviation:.1f}"
        rows.add_row(way, f"{best:g}", *(f"{share:.1f}" for share in shares), spread)
    rich.console.Console(highlight=False).print(rows)
    print(f"{time.perf_counter() - started:.0f} s")
    return 0


def pretrain(way: str, seed: int, steps: int, folder: Path) -> None:
    """Learns the training digits without their labels."""
    config = comparison.settings("pretrain", folder, seed)
    config |= {"steps": steps, "image_size": (SIZE, SIZE), "source": {"kind": "digits"}, "objective": PRETRAINING[way]}
    config["evaluate"] |= {"split": "val", "batch_size": 200}
    config["optimizer"] |= {"peak_learning_rate": 1e-3}
    run(config, place(folder, way, seed))


def tune(way: str, seed: int, rate: float, split: str, folder: Path) -> float:
    """Learns the labelled digits, from what a way has learned or from scratch; returns how many per cent are right."""
    config = comparison.settings(f"scratch-{LABELS}", folder, seed)
    config["optimizer"]["peak_learning_rate"] = rate
    config["evaluate"] |= {"split": split, "batch_size": 100}
    if way in PRETRAINING:
        config["weights"] = {"path": str(place(folder, way, seed)), "new_head": True}
    here = folder / f"{place(folder, way, seed).name}-{split}-{rate:g}"
    run(config, here)
    return 100 * findings.share(here).right


def place(folder: Path, way: str, seed: int) -> Path:
    """Returns the folder of what a way learns before it sees a label."""
    return folder / f"{way.replace(' ', '-')}-{seed}"


def run(config: dict[str, Any], folder: Path) -> None:
    """Trains, from wherever the run in `folder` left off; what is done stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.log", "a") as said:
        outcome = loop.train(Config(**config), folder, said)
    if outcome.exit_code:
        sys.exit(outcome.exit_code)


if __name__ == "__main__":
    sys.exit(main())
