"""Is a run that was killed the run that was not?

    python benchmarks/interrupted.py [--steps 2000] [--kills 3] [--seed 0]

Trains digits without a break, and again with SIGTERM at random steps, each time going on with the same command.
Prints for each kill the exit code and the seconds it took to save and end, then the sha256 of both final states.
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from vit_jax.train import checkpoints, experiment, steps
from vit_jax.train.config import Config

CONFIG = str(Path(__file__).parents[1] / "configs" / "miniature.py") + ":scratch,0"


def start(workdir: Path, last_step: int) -> subprocess.Popen[bytes]:
    """Starts the run in a process of its own."""
    command = [sys.executable, "-m", "vit_jax", "train", f"--config={CONFIG}", f"--workdir={workdir}"]
    command += [f"--config.steps={last_step}", "--config.log.every=1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def step_of(workdir: Path) -> int:
    """Returns the last step that the run has written about."""
    file = workdir / "metrics.jsonl"
    lines = [line for line in file.read_text().split("\n") if line.endswith("}")] if file.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def sha256(workdir: Path) -> str:
    """Returns the sha256 of parameters and optimiser state in the newest checkpoint."""
    fields = json.loads((workdir / "config.json").read_text())
    config = Config(**{**fields, "image_size": tuple(fields["image_size"])})
    run = experiment.build(config)
    checkpoint = checkpoints.newest(workdir / "checkpoints")
    assert checkpoint and checkpoint.step == config.steps
    layout = steps.layout_of(run.mesh, run.optimizer, run.objective, config.image_size, run.average)
    hashed = hashlib.sha256()
    for leaf in jax.tree.leaves(checkpoints.restore_state(checkpoint, layout)):
        hashed.update(np.asarray(leaf).tobytes())
    return hashed.hexdigest()


def main() -> int:
    """Prints the comparison; returns 0 if both runs end alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="draws the steps")
    given = parser.parse_args()
    at = sorted(random.Random(given.seed).sample(range(1, given.steps), given.kills))

    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        began = time.perf_counter()
        assert start(whole, given.steps).wait() == 0
        print(f"uninterrupted: {given.steps} steps in {time.perf_counter() - began:.0f} s")
        for step in at:
            process = start(broken, given.steps)
            while step_of(broken) < step and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            began = time.perf_counter()
            code = process.wait()
            saved = checkpoints.newest(broken / "checkpoints")
            assert saved
            ended = time.perf_counter() - began
            print(f"SIGTERM after step {step}: exit code {code} in {ended:.1f} s, saved at step {saved.step}")
        assert start(broken, given.steps).wait() == 0
        hashes = sha256(whole), sha256(broken)
        print(f"uninterrupted sha256 {hashes[0]}\ninterrupted   sha256 {hashes[1]}")
        return 0 if hashes[0] == hashes[1] else 1


if __name__ == "__main__":
    sys.exit(main())
