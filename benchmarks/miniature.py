"""Does pre-training help, whatever the seed? The comparison of `./run.sh miniature` over several seeds.

    python benchmarks/miniature.py --seeds 5 --workdir runs/benchmark-miniature

Prints mean and standard deviation of the accuracy on the 500 test digits for each budget and arm, and the seconds that
it took. Restartable, as the runs are. The nearest neighbour draws nothing, so it is the same for every seed.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import rich.console
import rich.table

from vit_jax.tools import comparison
from vit_jax.tools.compilation import keep_compiled
from vit_jax.tools.findings import Budget, Share
from vit_jax.train import workdir

ARMS = {"fine-tuned": "fine_tuned", "from scratch": "scratch", "nearest neighbour": "neighbour"}


def main() -> int:
    """Runs every seed; returns 0, or the exit code of the run that ended early."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on (default 5)")
    parser.add_argument("--steps", type=float, default=1.0, help="share of the configured steps (default 1)")
    parser.add_argument("--workdir", type=Path, default=Path("runs/benchmark-miniature"), help="a folder a seed in it")
    given = parser.parse_args()

    keep_compiled()
    started, cpu_started = time.perf_counter(), time.process_time()
    found: list[list[Budget]] = []
    for seed in range(given.seeds):
        folder = given.workdir / f"seed{seed}"
        code = comparison.train(folder, seed, given.steps)
        if code:
            return code
        configs = {run: workdir.config_of(folder / run) for run in comparison.RUNS}
        found.append([comparison.compared(folder, configs, budget) for budget in comparison.BUDGETS])
    rich.console.Console(highlight=False).print(table(found))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    print(f"{given.seeds} seed(s): {seconds:.0f} s, {cpu_seconds:.0f} CPU seconds")
    return 0


def table(found: list[list[Budget]]) -> rich.table.Table:
    """Returns mean ± standard deviation over the seeds, a row a budget."""
    rows = rich.table.Table("labels", *ARMS, title=f"Test digits named correctly, {len(found)} seed(s)")
    for budgets in zip(*found, strict=True):
        rows.add_row(
            f"{budgets[0].labels:,}", *(spread([getattr(each, arm) for each in budgets]) for arm in ARMS.values())
        )
    return rows


def spread(shares: list[Share]) -> str:
    """Returns mean ± standard deviation (of the sample) in per cent."""
    values = [100 * share.right for share in shares]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


if __name__ == "__main__":
    sys.exit(main())
