"""Is every family of checkpoints read, equal to its own library, resized and written back as that has it?

    ./run.sh parity --collect-only -q    # installs the libraries
    .venv/bin/python benchmarks/families.py [--output docs/families.md]

For each family: a tiny model of its own library, every tensor redrawn, saved as the library saves, read here. Prints,
and writes as a table, the largest difference of any block and of the logits relative to the largest value or 1, the
library in float64 and here in float32: at the model's size, at another, of a fine-tuned head written for the library;
and whether what is written back has the same names, dtypes and bits, and computes the same in the library.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from vit_jax.weights import references

HEADER = ("family", "format", "read", "blocks", "logits", "resized", "written back", "fine-tuned, written", "library")


def main() -> int:
    """Prints a line for each family; returns 1 if one departs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="a Markdown file to write the table to as well")
    given = parser.parse_args()
    cases, proof = harness()
    lines = [row(HEADER), row(["---"] * len(HEADER))]
    print("\n".join(lines))
    agree = True
    for case in cases.CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = proof.prove(case, Path(folder))
        measured = (found.blocks, found.logits, found.resized, found.written, found.fine_tuned)
        agree &= max(value or 0 for value in measured) <= proof.TOLERANCE
        blocks, logits, resized, written, fine_tuned = (one if one is None else f"{one:.1e}" for one in measured)
        back = "same bits" if found.written == 0 else f"same bits, {written}"
        version = references.library(case.format).version()
        lines.append(row([case.name, case.format, "yes", blocks, logits, resized, back, fine_tuned, version]))
        print(lines[-1], flush=True)
    if given.output:
        given.output.write_text("\n".join(lines) + "\n")
    return int(not agree)


def row(cells: Any) -> str:
    """Returns a line of a Markdown table; None is a dash."""
    return "| " + " | ".join("–" if cell is None else cell for cell in cells) + " |"


def harness() -> tuple[Any, Any]:
    """Returns the modules of tests/parity: the cases, and what proves one."""
    tests = Path(__file__).parents[1] / "tests"
    sys.path[:0] = [str(tests / "parity"), str(tests / "golden")]
    return importlib.import_module("cases"), importlib.import_module("proof")


if __name__ == "__main__":
    sys.exit(main())
