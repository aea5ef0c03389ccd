"""Images: where they come from, how they are cut, how they become batches."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from vit_jax.data import pipeline, sources
from vit_jax.data.examples import Relabelled, Source
from vit_jax.data.images import distortions
from vit_jax.data.images import preprocess as preprocessing
from vit_jax.data.order import Sampling
from vit_jax.errors import UserError, construct


def opened(
    source: Mapping[str, Any],
    image_size: Sequence[int],
    split: str,
    preprocess: Mapping[str, Any],
    augment: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Source, preprocessing.Transform]:
    """Returns the `split` of a source and the transform of its images, as config sections describe them.

    `augment` names what happens to an image after it is cropped, kind by kind; `images.distortions` has the kinds.

    Raises:
      UserError: a section that says something unknown, or data that is not there.
    """
    transform = construct(preprocessing.build, "preprocess", image_size=image_size, **preprocess)
    transform = distortions.after(transform, augment)
    return construct(sources.build, "config.source", split=split, **source), transform


def training(
    source: Mapping[str, Any],
    image_size: Sequence[int],
    batch_size: int,
    seed: int,
    threads: int,
    processes: int,
    rows: slice = slice(None),
    *,
    split: str,
    preprocess: Mapping[str, Any],
    augment: Mapping[str, Any] = MappingProxyType({}),
    sampling: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Source, pipeline.Batches]:
    """Returns the source to learn from and its batches, as config sections describe them; see `pipeline.training`.

    Raises:
      UserError: a section that says something unknown, or data that is not there.
    """
    shown = construct(Sampling, "config.train.sampling", **sampling)
    learned_from, transform = opened(source, image_size, split, preprocess, augment)
    batches = pipeline.training(learned_from, transform, batch_size, seed, threads, processes, rows, shown)
    return learned_from, batches


def with_classes(source: Source, class_names: Sequence[str]) -> Source:
    """Returns `source` with its labels counted in `class_names`, the classes that a model knows, in its order.

    Raises:
      UserError: the source has a class that is not among them.
    """
    if tuple(source.class_names) == tuple(class_names):
        return source
    unknown = [name for name in source.class_names if name not in class_names]
    if unknown:
        some = ", ".join(class_names[:5])
        raise UserError(
            f"the model was not trained on the class {', '.join(unknown[:5])}; it knows {len(class_names)} ({some}, …)"
        )
    return Relabelled(source, class_names)
