"""The benchmarks run, and say what they should."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_run_ended_by_real_signals_is_the_run_that_was_not():
    command = [sys.executable, "benchmarks/interrupted.py", "--steps", "60", "--kills", "2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert len(re.findall(r"SIGTERM after step \d+: exit code 143 in", ended.stdout)) == 2
    one, other = re.findall(r"sha256 (\w{64})", ended.stdout)
    assert one == other
