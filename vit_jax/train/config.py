"""What a config file holds, field by field."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vit_jax.errors import UserError, check_kind

Section = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment, complete; each section is unpacked into one constructor, which names a key it does not know.

    Attributes:
      seed: of parameters, order of the data, augmentation and dropout.
      steps: how many the run takes.
      batch_size: images a step, over all devices.
      accumulate: parts that a batch is run in, one after the other, to save memory.
      image_size: (height, width) that the model sees.
      value_range: `mean` and `std` by channel, where pixels lie in [0, 1].
      source: where the images are; `data.sources.build`.
      train: `split` of the source to learn from, `preprocess`, how its images are cropped, `augment`, what happens to
        them then, and `sampling`, how often which is shown; `data.training`.
      evaluate: `split` and `preprocess` to be examined on, `batch_size`, `every` how many steps; 0: at the end only.
      model: `models.build`, but for the number of classes, which the source knows.
      weights: what to start from; `train.start.parameters`.
      objective: `objectives.build`.
      optimizer: `train.optimizers.build`.
      average: of the parameters over the run; `train.averages.Average`.
      sharpness: SAM and GSAM; `train.sharpness.build`.
      checkpoint: `train.checkpoints.Keeper`.
      log: `train.progress.Log`.
      profile: `train.progress.Profiler`.
      mesh: `parallel.make_mesh`.
      threads: that read and crop images beside the training.
      processes: that do it instead, where one process cannot read as fast as the devices train; 0 for none.
    """

    seed: int
    steps: int
    batch_size: int
    accumulate: int
    image_size: tuple[int, int]
    value_range: Section
    source: Section
    train: Section
    evaluate: Section
    model: Section
    weights: Section
    objective: Section
    optimizer: Section
    average: Section
    sharpness: Section
    checkpoint: Section
    log: Section
    profile: Section
    mesh: Section
    threads: int
    processes: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_kind(f"config.{field.name}", getattr(self, field.name), field.type)
        for name, least in (
            ("seed", 0),
            ("steps", 1),
            ("batch_size", 1),
            ("accumulate", 1),
            ("threads", 0),
            ("processes", 0),
        ):
            if getattr(self, name) < least:
                raise UserError(f"config.{name} is at least {least}; got {getattr(self, name)}")
        if not isinstance(self.image_size, tuple) or len(self.image_size) != 2 or min(self.image_size) < 1:
            raise UserError(f"config.image_size is (height, width) in pixels; got {self.image_size!r}")
