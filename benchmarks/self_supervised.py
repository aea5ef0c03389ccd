"""What is pre-training without labels good for? Fine-tuned on few labels, against scratch, over several seeds.

    python benchmarks/self_supervised.py                               (digits, 100 of them with a label)
    python benchmarks/self_supervised.py --data cifar10                (a folder as configs/scratch.py takes it, 1,000)

Pre-trains a small model on all training images by masked patch prediction and as a masked autoencoder, fine-tunes both
on few labels for as many steps as one from scratch takes, and lets the first of them teach a new model from scratch
what is on all training images, again without further labels. Prints mean and standard deviation of the accuracy on the
test split. Restartable, as the runs are.

    python benchmarks/self_supervised.py --choose

prints the accuracy on held-out images for each learning rate of the fine-tuning instead: those of the digits were
chosen so, from one seed:
                  1e-3   3e-3   6e-3
scratch           68.0   79.5   70.5
masked patches    90.5   93.5   88.5
autoencoder       95.0   94.0   93.0
distilled         71.5   86.5   64.5
"""

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import rich.console
import rich.table

from vit_jax.errors import construct
from vit_jax.tools import configuration
from vit_jax.tools.compilation import keep_compiled
from vit_jax.train import loop
from vit_jax.train.config import Config

CONFIGS = Path(__file__).parents[1] / "configs"
OBJECTIVES = {
    "masked patches": {"kind": "masked_patches"},
    "autoencoder": {"kind": "masked_autoencoder", "decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4},
}
ARMS = ("scratch", *OBJECTIVES, "distilled")
TEACHER = "masked patches"
GRID = (1e-3, 3e-3, 6e-3)  # learning rates of fine-tuning that `--choose` tries

# The data; the config file that says the rest; few labels and many images; where rates are chosen, and the test.
# Then of pre-training: steps and learning rate; of fine-tuning: steps, and the learning rate of each arm.
PLACES: dict[str, dict[str, Any]] = {
    "digits": {
        "config": "miniature.py:scratch,100",
        "labels": {"source": {"kind": "digits", "labels": 100}, "split": "train"},
        "images": {"source": {"kind": "digits", "labels": 0}, "split": "train"},
        "chosen_on": "val",
        "test": "test",
        "pretraining": (1500, 2e-3),
        "steps": 200,
        "rates": {"scratch": 3e-3, "masked patches": 3e-3, "autoencoder": 1e-3, "distilled": 3e-3},
    },
    "folder": {
        "config": "scratch.py",
        "labels": {"source": {"kind": "folder"}, "split": "train[:2%]"},
        "images": {"source": {"kind": "folder"}, "split": "train[:95%]"},
        "chosen_on": "train[95%:]",
        "test": "test",
        "pretraining": (3000, 2e-3),
        "steps": 400,
        # Not chosen yet: `--choose` first.
        "rates": {"scratch": 3e-3, "masked patches": 3e-3, "autoencoder": 3e-3, "distilled": 3e-3},
    },
}


class Comparison:
    """The runs of one place and one seed, in `folder`; `share` of their steps."""

    def __init__(self, place: dict[str, Any], data: str, seed: int, folder: Path, share: float):
        self.place, self.data, self.seed, self.folder, self.share = place, data, seed, folder, share

    def pretrain(self, kind: str) -> Path:
        """Pre-trains without labels; returns the run's folder."""
        steps, rate = self.place["pretraining"]
        fields = self.fields("images", self.place["chosen_on"], steps, rate) | {"objective": OBJECTIVES[kind]}
        self.run(kind, fields | {"batch_size": 64})
        return self.path(kind)

    def path(self, name: str) -> Path:
        """Returns the folder of a run."""
        return self.folder / name.replace(" ", "-")

    def tuned(self, arm: str, rate: float, exam: str) -> float:
        """Returns the accuracy of an arm's model, fine-tuned at `rate`, on the split that `exam` names."""
        examined = self.place[exam]
        fields = self.fields("images" if arm == "distilled" else "labels", examined, self.place["steps"], rate)
        if arm in OBJECTIVES:
            fields["weights"] = {"path": str(self.pretrain(arm))}
        if arm == "distilled":
            taught_at = self.place["rates"][TEACHER]
            self.tuned(TEACHER, taught_at, "test")
            fields["objective"] = {"kind": "distillation", "teacher": str(self.path(f"{TEACHER} {taught_at:g} test"))}
        return self.run(f"{arm} {rate:g} {exam}", fields)

    def fields(self, images: str, examined: str, steps: int, rate: float) -> dict[str, Any]:
        """Returns the place's config with other images, steps and learning rate."""
        fields = configuration.load(f"{CONFIGS / self.place['config']}").to_dict()
        source, split = (copy.deepcopy(self.place[images][key]) for key in ("source", "split"))
        fields |= {"source": source | ({"path": self.data} if self.data else {}), "mesh": {"data": 1}}
        fields |= {"seed": self.seed, "steps": max(2, round(self.share * steps)), "weights": {"path": ""}}
        fields["train"]["split"] = split
        fields["evaluate"] |= {"split": examined, "every": 0}
        schedule = {"name": "cosine", "warmup_steps": round(0.15 * fields["steps"])}
        fields["optimizer"] |= {"peak_learning_rate": rate, "schedule": schedule}
        return fields | {"checkpoint": {"every": fields["steps"], "keep_last": 1}, "log": {"every": 500}}

    def run(self, name: str, fields: dict[str, Any]) -> float:
        """Runs, or takes from an earlier time, and returns the last evaluation's score."""
        print(f"seed {self.seed}: {name}", file=sys.stderr, flush=True)
        outcome = loop.train(construct(Config, "config", **fields), self.path(name))
        if outcome.exit_code or not outcome.result:
            sys.exit(outcome.exit_code)
        return outcome.result.score


def main() -> int:
    """Prints the comparison; returns 0, or the exit code of the run that ended early."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="a folder of images; the built-in digits without one")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on (default 3)")
    parser.add_argument("--steps", type=float, default=1.0, help="share of the configured steps (default 1)")
    parser.add_argument("--choose", action="store_true", help="compare learning rates on held-out images instead")
    parser.add_argument("--workdir", type=Path, default=Path("runs/benchmark-self-supervised"))
    given = parser.parse_args()

    keep_compiled()
    started, cpu_started = time.perf_counter(), time.process_time()
    place = PLACES["folder" if given.data else "digits"]
    runs = [
        Comparison(place, given.data, seed, given.workdir / f"seed{seed}", given.steps) for seed in range(given.seeds)
    ]
    table = rich.table.Table("arm", "learning rate", "accuracy", title=f"{given.seeds} seed(s), mean ± deviation")
    exam = "chosen_on" if given.choose else "test"
    for arm in ARMS:
        for rate in GRID if given.choose else (place["rates"][arm],):
            table.add_row(arm, f"{rate:g}", spread([each.tuned(arm, rate, exam) for each in runs]))
    rich.console.Console(highlight=False).print(table)
    print(f"{time.perf_counter() - started:.0f} s, {time.process_time() - cpu_started:.0f} CPU seconds")
    return 0


def spread(shares: list[float]) -> str:
    """Returns mean ± standard deviation (of the sample, where there is more than one) in per cent."""
    mean = f"{100 * statistics.mean(shares):.1f}"
    return f"{mean} ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else mean


if __name__ == "__main__":
    sys.exit(main())
