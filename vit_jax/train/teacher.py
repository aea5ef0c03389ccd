"""The teacher of a distillation: what another run learned, on the devices."""

from jax.sharding import Mesh

from vit_jax import parallel
from vit_jax.errors import UserError
from vit_jax.objectives.distillation import Teacher
from vit_jax.train import start


def load(path: str, mesh: Mesh, image_size: tuple[int, int], class_names: tuple[str, ...]) -> Teacher:
    """Returns what stands at `path`, as `start.trained` takes it, whole on every device.

    A run's workdir means its best checkpoint, whichever that is by then; a checkpoint's own folder is always the same.

    Raises:
      UserError: nothing good at `path`, or a model that knows other classes than the student is to learn, answers
        otherwise than by a softmax, or sees images of another size.
    """
    if not path:
        raise UserError("objective.teacher is empty; give a run's workdir, a checkpoint's folder or a published file")
    trained = start.trained(path)
    start.refuse_nameless(trained)
    recipe = trained.recipe
    if recipe.loss != "softmax":
        raise UserError(f"the teacher {trained.source} answers by {recipe.loss}; distillation wants one by softmax")
    if tuple(recipe.image_size) != tuple(image_size):
        raise UserError(
            f"the teacher {trained.source} sees images of {recipe.image_size}, the student is to see {image_size}; "
            f"set {start.overrides({'image_size': tuple(recipe.image_size)})} or choose another teacher"
        )
    if recipe.class_names:
        if recipe.class_names != class_names:
            raise UserError(
                f"the teacher {trained.source} knows other classes than the data has, or in another order: "
                f"{_some(recipe.class_names)} there, {_some(class_names)} here; give the data that it learned from"
            )
    elif recipe.model["classes"] != len(class_names):
        raise UserError(
            f"the teacher {trained.source} knows {recipe.model['classes']} classes, the data has {len(class_names)}"
        )
    return Teacher(parallel.place(mesh, trained.parameters), trained.model, recipe.mean, recipe.std)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
