"""`train`: pretrains or fine-tunes the model of a config."""

import json
from pathlib import Path

from vit_jax.errors import UserError, construct
from vit_jax.tools import configuration
from vit_jax.tools.arguments import Parser


def main(arguments: list[str]) -> int:
    """Trains; returns the exit code: 0 done, 1 the loss is no longer a number, 130 or 143 interrupted and saved."""
    parser = Parser("train", "Trains the model of a config; the same command goes on where it was interrupted.")
    parser.add_argument("--config", metavar="FILE[:ARG]", help="a config file, with what its get_config is to be given")
    parser.add_argument("--config.FIELD", metavar="VALUE", dest="_", help="changes a field of it (any number of times)")
    parser.add_argument("--workdir", help="where the run lives; runs/ and the config's name if not given")
    parser.add_argument("--print-config", action="store_true", help="prints the config as it would run, and ends")
    given, left = parser.parse_known_args(arguments)
    if not given.config:
        raise UserError("--config is wanted, as in --config=configs/scratch.py")
    config = configuration.load(given.config)
    for word in left:
        if word.startswith("--config."):
            configuration.override(config, word)
        elif word.startswith("config."):
            raise UserError(f'unexpected argument "{word}"; did you mean --{word}?')
        else:
            parser.unexpected(word)
    if given.print_config:
        print(json.dumps(config.to_dict(), indent=1))
        return 0

    from vit_jax.tools.compilation import keep_compiled
    from vit_jax.train import loop
    from vit_jax.train.config import Config

    keep_compiled()
    settings = construct(Config, "the config", **config.to_dict())
    workdir = Path(given.workdir or Path("runs") / Path(given.config.partition(":")[0]).stem)
    outcome = loop.train(settings, workdir)
    if outcome.result:
        print(f"{workdir}: {outcome.result}")
    return outcome.exit_code
