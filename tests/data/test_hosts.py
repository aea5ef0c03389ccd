"""The same batches on any number of hosts: real processes, killed and resumed, and JAX's own runtime between them."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "digits": "{'kind': 'digits'}",
    "mixture": "{'kind': 'mixture', 'parts': {'real': {'kind': 'digits', 'weight': 0.7}, 'made': {'kind': 'fractals', "
    "'classes': 10, 'per_class': 20, 'image_size': (8, 8), 'seed': 0, 'weight': 0.3}}}",
}
SAMPLINGS = {
    "plain": (),
    "repeated": ("--config.train.sampling.repeats=4",),
    "balanced": ("--config.train.sampling.balance=0.5",),
}
WORKERS = (("--config.threads=0",), ("--config.threads=1",), ("--config.threads=4",), ("--config.processes=2",))


def start(host, hosts, first, steps, options):
    command = [sys.executable, "-m", "vit_jax", "data", "hash", "--config=configs/miniature.py:scratch", "--parts=8"]
    command += [f"--host={host}/{hosts}", f"--first={first}", f"--steps={steps}", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def hashes(hosts, first, steps, options):
    """The sorted lines of all hosts, which have as many and other workers each."""
    running = [start(host, hosts, first, steps, options + WORKERS[host % len(WORKERS)]) for host in range(hosts)]
    outputs = [process.communicate()[0] for process in running]
    assert not any(process.returncode for process in running)
    return sorted(line for output in outputs for line in output.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "sampling"), [("digits", "plain"), ("digits", "repeated"), ("digits", "balanced"), ("mixture", "plain")]
)
def test_any_number_of_hosts_reads_the_same_batches(source, sampling):
    options = (f"--config.source={SOURCES[source]}", "--config.evaluate.split=val", *SAMPLINGS[sampling])
    reference = hashes(1, 0, 90, options)  # more than an epoch of the digits
    assert len(set(reference)) == 90 * 8
    for hosts in (2, 4, 8):
        assert hashes(hosts, 0, 90, options) == reference


@pytest.mark.slow
def test_killed_and_resumed_on_another_number_of_hosts():
    options = ("--config.source.labels=400",)
    reference = hashes(1, 0, 150, options)
    read, step = [], 0
    for hosts in (2, 8, 1, 4):
        running = [start(host, hosts, step, 10**9, options + WORKERS[host % len(WORKERS)]) for host in range(hosts)]
        lines = [[process.stdout.readline() for _ in range(30 * 8 // hosts)] for process in running]
        for process in running:
            process.kill()
            process.communicate()
        read += [line.rstrip("\n") for own in lines for line in own]
        step += 30
    read += hashes(2, step, 30, options)
    assert sorted(read) == reference


BATCH = re.compile("batch ([0-9a-f]{64})")  # gloo has its say on the same stream
PLACED = """
import hashlib, itertools, os, sys
host, hosts, port = map(int, sys.argv[1:])
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={8 // hosts}"
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_cpu_collectives_implementation", "gloo")
if hosts > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=hosts, process_id=host)
from jax.experimental import multihost_utils
from vit_jax import data, parallel
from vit_jax.data import pipeline
mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
rows = pipeline.rows_of(jax.process_index(), jax.process_count(), 32)
crop = {"kind": "inception_crop"}
_, batches = data.training({"kind": "digits"}, (12, 12), 32, 7, 2, 0, rows, split="train", preprocess=crop)
with batches.since(40) as ahead:
    for batch in itertools.islice(ahead, 3):
        placed = parallel.place_batch(mesh, batch)
        assert placed["image"].shape == (32, 12, 12, 3)
        whole = {name: multihost_utils.process_allgather(array, tiled=True) for name, array in placed.items()}
        print("batch", hashlib.sha256(b"".join(whole[name].tobytes() for name in sorted(whole))).hexdigest())
if hosts > 1:
    jax.distributed.shutdown()
"""


@pytest.mark.slow
def test_the_batch_on_the_mesh_is_the_same_from_any_number_of_hosts(tmp_path):
    (tmp_path / "placed.py").write_text(PLACED)
    found = {}
    for hosts in (1, 2, 4, 8):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        running = [
            subprocess.Popen(
                [sys.executable, tmp_path / "placed.py", *map(str, (host, hosts, port))],
                stdout=subprocess.PIPE, env=environment, text=True,
            )
            for host in range(hosts)
        ]  # fmt: skip
        outputs = {tuple(BATCH.findall(process.communicate(timeout=120)[0])) for process in running}
        assert not any(process.returncode for process in running)
        assert len(outputs) == 1, "every host gathers the same"
        found[hosts] = outputs.pop()
    assert len(set(found[1])) == 3
    assert found[1] == found[2] == found[4] == found[8]
