"""`miniature`: pre-trains on fractals, fine-tunes on a few digits, compares with scratch, writes a report."""

from pathlib import Path

from vit_jax.tools.arguments import Parser


def main(arguments: list[str]) -> int:
    """Runs all of it, from wherever it left off; returns 0, or the exit code of the run that ended early."""
    parser = Parser("miniature", "The paper in miniature, offline; the same command goes on where it was interrupted.")
    parser.add_argument("--workdir", default="runs/miniature", help="where it all lives (default runs/miniature)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    given = parser.parse(arguments)

    from vit_jax.tools import comparison
    from vit_jax.tools.compilation import keep_compiled

    keep_compiled()
    folder = Path(given.workdir)
    code = comparison.train(folder, given.seed)
    if not code:
        comparison.report(folder, f"./run.sh miniature --seed={given.seed}" if given.seed else "./run.sh")
    return code
