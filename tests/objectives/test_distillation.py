"""Learning from a teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax import models, objectives
from vit_jax.data import augment
from vit_jax.errors import UserError
from vit_jax.objectives.distillation import Distillation, Teacher, hard, soft

HALF = (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = {"width": 8, "depth": 1, "mlp_hidden": 8, "heads": 1, "patch": (4, 4)}
STUDENT = models.build(SIZE, classes=4, pool="mean", positions="none")
MASTER = models.build(SIZE | {"width": 12, "depth": 2}, classes=4, dropout=0.5)


def redrawn(model) -> dict:
    """Parameters, every one of them at random: a head of zeros would say nothing."""
    draw = np.random.default_rng(1)
    shapes = models.initial(model, jax.random.key(0), (8, 8))
    return jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape), jnp.float32), shapes)


def distillation(model=STUDENT, master=MASTER, value_range=(HALF, HALF), **options) -> Distillation:
    teacher = Teacher(redrawn(master), master, *value_range)
    return objectives.build(model, HALF, HALF, "distillation", teacher=teacher, **options)


def batch() -> dict[str, jax.Array]:
    draw = np.random.default_rng(0)
    return {
        "image": jnp.asarray(draw.integers(0, 256, (6, 8, 8, 3)), jnp.uint8),
        "label": jnp.asarray([0, 1, 2, 3, 0, 1], jnp.int32),
    }


def two_logits() -> np.ndarray:
    return np.random.default_rng(2).normal(scale=3, size=(2, 6, 4)).astype(np.float32)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_decisions_are_compared_by_the_divergence(temperature: float):
    student, teacher = two_logits()
    wanted, found = (scipy.special.softmax(logits.astype(float) / temperature, axis=1) for logits in (teacher, student))
    expected = temperature**2 * scipy.special.rel_entr(wanted, found).sum(axis=1)
    np.testing.assert_allclose(soft(jnp.asarray(student), jnp.asarray(teacher), temperature), expected, rtol=1e-4)


def test_the_gradient_keeps_its_size_at_high_temperatures():
    """1503.02531, eq. 4: for logits of mean zero it nears (student - teacher) / classes."""
    student, teacher = (logits - logits.mean(axis=1, keepdims=True) for logits in two_logits())
    gradient = jax.grad(lambda logits: soft(logits, jnp.asarray(teacher), 1e3).sum())(jnp.asarray(student))
    np.testing.assert_allclose(gradient, (student - teacher) / 4, atol=2e-2)


def test_hard_decisions_are_the_teachers_likeliest_class():
    student, teacher = two_logits()
    expected = -scipy.special.log_softmax(student, axis=1)[np.arange(6), teacher.argmax(axis=1)]
    np.testing.assert_allclose(hard(jnp.asarray(student), jnp.asarray(teacher), 1.0), expected, rtol=1e-5)


def test_several_labels_share_what_the_labels_say():
    several = jnp.asarray([[0, 2], [1, -1], [-1, -1], [3, 0], [2, 2], [3, 1]], jnp.int32)
    shared = np.array([[1, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1], [0, 0, 2, 0], [0, 1, 0, 1]]) / 2
    objective = distillation(label_share=0.5)
    prepared = objective.prepare(batch() | {"label": several}, jax.random.key(0))
    np.testing.assert_array_equal(prepared["target"], shared)
    parameters = redrawn(STUDENT)
    found = objective.losses(parameters, prepared, None)
    by_teacher = distillation().losses(parameters, prepared, None)["loss"]
    logits = np.asarray(models.apply(STUDENT, parameters, prepared["image"], None))
    by_label = -(shared * scipy.special.log_softmax(logits, axis=1)).sum(axis=1)
    np.testing.assert_allclose(found["loss"], (by_teacher + by_label) / 2, rtol=1e-4)
    np.testing.assert_array_equal(found["accuracy"], shared[np.arange(6), logits.argmax(axis=1)] > 0)


@pytest.mark.slow
def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    objective = distillation(MASTER)
    prepared = objective.prepare(batch(), jax.random.key(0))
    losses = jax.jit(lambda parameters: objective.losses(parameters, prepared, None))
    found = losses(objective.teacher.parameters)
    np.testing.assert_allclose(found["loss"], np.zeros(6), atol=1e-6)
    assert np.all(found["agreement"] == 1)
    gradients = jax.jit(jax.grad(lambda parameters: losses(parameters)["loss"].mean()))(objective.teacher.parameters)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradients)) < 1e-5


def test_the_loss_is_made_of_both_shares():
    """As DeiT: half the teacher's decision, half the label."""
    objective = distillation(decision="hard", label_share=0.5)
    parameters, prepared = redrawn(STUDENT), objective.prepare(batch(), jax.random.key(0))
    student = np.asarray(models.apply(STUDENT, parameters, prepared["image"]))
    teacher = np.asarray(models.apply(MASTER, objective.teacher.parameters, prepared["image"]))
    labels, logs = np.asarray(batch()["label"]), scipy.special.log_softmax(student, axis=1)
    expected = -(logs[np.arange(6), teacher.argmax(axis=1)] + logs[np.arange(6), labels]) / 2
    found = objective.losses(parameters, prepared, None)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-4)
    np.testing.assert_array_equal(found["accuracy"], student.argmax(axis=1) == labels)
    np.testing.assert_array_equal(found["agreement"], student.argmax(axis=1) == teacher.argmax(axis=1))


def test_the_teacher_sees_the_students_images_in_its_own_value_range():
    """2106.05237, "consistent": the same crop and the same mixup, each in its value range."""
    objective = distillation(value_range=IMAGENET, mixup=0.5)
    parameters, prepared = redrawn(STUDENT), objective.prepare(batch(), jax.random.key(0))
    images = augment.normalize(batch()["image"], *IMAGENET)
    mixed, _ = augment.mixup(images, jax.nn.one_hot(batch()["label"], 4), 0.5, jax.random.key(0))
    teacher = models.apply(MASTER, objective.teacher.parameters, mixed)
    student = models.apply(STUDENT, parameters, prepared["image"])
    found = objective.losses(parameters, prepared, None)["loss"]
    np.testing.assert_allclose(found, soft(student, teacher, 1.0), rtol=1e-3)


def test_a_value_range_is_changed_for_another():
    images = np.random.default_rng(0).uniform(size=(2, 3, 3, 3)).astype(np.float32)
    before, after = ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), IMAGENET
    found = augment.renormalize(jnp.asarray((images - before[0]) / before[1], jnp.float32), before, after)
    np.testing.assert_allclose(found, (images - after[0]) / after[1], atol=1e-5)


def test_dropout_is_the_students_alone():
    objective = distillation()  # of a teacher with dropout
    parameters, prepared = redrawn(STUDENT), objective.prepare(batch(), jax.random.key(0))
    with_key, without = (objective.losses(parameters, prepared, key)["loss"] for key in (jax.random.key(0), None))
    np.testing.assert_array_equal(with_key, without)


def test_the_teachers_arrays_are_leaves_of_the_objective():
    objective = distillation()
    count = len(jax.tree.leaves(objective.teacher.parameters))
    assert len(jax.tree.leaves(objective)) == count > 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decision": "sfot"}, 'Did you mean "soft"'),
        ({"temperature": 0.0}, "temperature is above 0"),
        ({"label_share": 1.0}, "label_share is a share"),
        ({"temprature": 2.0}, 'Did you mean "temperature"'),
    ],
)
def test_a_wrong_option_is_named(options, message: str):
    with pytest.raises(UserError, match=message):
        distillation(**options)


def test_a_teacher_is_wanted():
    with pytest.raises(UserError, match="missing a required argument: 'teacher'"):
        objectives.build(STUDENT, HALF, HALF, "distillation")
