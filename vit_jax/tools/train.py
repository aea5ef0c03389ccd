"""`train`: pretrains or fine-tunes the model of a config."""

import json
from pathlib import Path

from vit_jax.errors import UserError, construct
from vit_jax.tools import configuration
from vit_jax.tools.arguments import Parser


def main(arguments: list[str]) -> int:
    """Trains; returns the exit code: 0 done, 1 the loss is no longer a number, 130 or 143 interrupted and saved."""
    parser = Parser("train", "Trains the model of a config; the same command goes on where it was interrupted.")
    configuration.add_to(parser)
    parser.add_argument(
        "--workdir", help="where the run lives; runs/, the config's name and its argument, if not given"
    )
    parser.add_argument("--print-config", action="store_true", help="prints the config as it would run, and ends")
    given, left = parser.parse_known_args(arguments)
    if not given.config:
        raise UserError("--config is wanted, as in --config=configs/scratch.py")
    config = configuration.changed(given.config, left, parser)
    if given.print_config:
        print(json.dumps(config.to_dict(), indent=1))
        return 0

    from vit_jax.tools.compilation import keep_compiled
    from vit_jax.train import loop, workdir
    from vit_jax.train.config import Config

    keep_compiled()
    settings = construct(Config, "config", **config.to_dict())
    file, _, argument = given.config.partition(":")
    name = f"{Path(file).stem}-{argument.replace('/', '')}" if argument else Path(file).stem
    folder = workdir.local(given.workdir or f"runs/{name}")
    outcome = loop.train(settings, folder)
    if outcome.result:
        print(f"{folder}: {outcome.result}")
    return outcome.exit_code
