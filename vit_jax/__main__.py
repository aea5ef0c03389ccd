"""`python -m vit_jax VERB …`: from a word to the function that does it. A verb is imported only when it runs."""

import importlib
import os
import sys

from vit_jax.errors import UserError, one_line, pick

# verb: (module whose `main(arguments)` returns the exit code, what it does). A line each: run.sh prints them too.
VERBS = {
    "train": ("vit_jax.tools.train", "trains or fine-tunes the experiment of --config, from wherever it left off"),
    "evaluate": ("vit_jax.tools.evaluate", "evaluates a checkpoint, every example counted once"),
    "predict": ("vit_jax.tools.predict", "names what is on image files, with probabilities"),
    "figures": ("vit_jax.tools.figures", "the paper's figures of a model: filters, positions, attention, norms"),
    "miniature": ("vit_jax.tools.miniature", "the paper in miniature, offline"),
    "data": ("vit_jax.tools.data", "images: checked, prepared as shards, and what their batches hold, as hashes"),
    "weights": ("vit_jax.tools.weights", "anybody's checkpoint: examined, verified, in another format"),
    "models": ("vit_jax.tools.models", "every size by name, with its parameter count beside the paper's"),
}


def usage() -> str:
    """Returns the list of verbs."""
    verbs = "\n".join(f"  {verb:10} {does}" for verb, (_, does) in VERBS.items())
    return f"Usage: python -m vit_jax VERB …\n\n{verbs}\n\npython -m vit_jax VERB --help says what a verb reads."


def main(arguments: list[str] | None = None) -> int:
    """Runs the verb that `arguments` (by default the command line's) begin with; returns the exit code."""
    verb, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if verb in ("-h", "--help", "help"):
            print(usage())
            return 0
        module, _ = pick(VERBS, verb, "verb")
        code = importlib.import_module(module).main(rest)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
