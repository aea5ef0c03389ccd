"""`evaluate`: how often a trained model is right."""

import json

from vit_jax.tools.arguments import TRAINED, Parser


def main(arguments: list[str]) -> int:
    """Prints top-1, top-5, the loss and the 95% interval of top-1; returns 0."""
    parser = Parser("evaluate", "Evaluates a run's best checkpoint; every example is counted once.")
    parser.add_argument("--workdir", required=True, help=TRAINED)
    parser.add_argument("--data", help="a folder with a subfolder of images for each class; else the run's own data")
    parser.add_argument("--split", help="which part of the data; else what the run was evaluated on, or all of --data")
    parser.add_argument("--batch-size", type=int, default=256, help="images at a time (default 256)")
    parser.add_argument("--json", action="store_true", help="prints the result as JSON")
    given = parser.parse(arguments)

    from vit_jax import data, parallel
    from vit_jax.data import pipeline
    from vit_jax.evaluate.classify import Classifier
    from vit_jax.train import start, workdir

    trained = start.trained(given.workdir)
    start.refuse_nameless(trained)
    if given.data:
        section, split = {"kind": "folder", "path": given.data}, given.split or "all"
    else:
        config = workdir.run_of(trained.source)
        section, split = config["source"], given.split or config["evaluate"]["split"]
    recipe = trained.recipe
    source, transform = data.opened(section, recipe.image_size, split, recipe.preprocess)
    source = data.with_classes(source, recipe.labels)
    mesh = parallel.make_mesh()
    classifier = Classifier(trained.model, mesh, recipe.mean, recipe.std, recipe.loss)
    result = classifier.evaluate(
        parallel.place(mesh, trained.parameters),
        pipeline.evaluation(source, transform, parallel.whole_batch_size(mesh, given.batch_size)),
    )
    print(json.dumps(result.as_dict()) if given.json else f"{trained.source}, {split}: {result}")
    return 0
