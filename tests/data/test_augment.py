"""CutMix; mixup and normalisation are tested where they are used, tests/objectives/test_classify_objective.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.data import augment

HEIGHT, WIDTH = 12, 20
# Image n is n + 1 everywhere, in three channels, and its class is its own.
IMAGES = jnp.broadcast_to(jnp.arange(1.0, 5.0)[:, None, None, None], (4, HEIGHT, WIDTH, 3))
TARGETS = jnp.eye(4)


def mixed(seed):
    images, targets = jax.jit(augment.cutmix, static_argnums=2)(IMAGES, TARGETS, 0.5, jax.random.key(seed))
    return np.asarray(images), np.asarray(targets)


def test_a_box_of_the_image_before_and_its_share_of_the_target():
    for seed in range(60):
        images, targets = mixed(seed)
        pasted = images[:, :, :, 0] != np.arange(1, 5)[:, None, None]
        assert (pasted == pasted[:1]).all(), "one box for the batch"
        np.testing.assert_array_equal(images, np.where(pasted[0, :, :, None], np.roll(IMAGES, 1, axis=0), IMAGES))
        rows, columns = pasted[0].any(axis=1), pasted[0].any(axis=0)
        np.testing.assert_array_equal(pasted[0], rows[:, None] & columns[None])
        assert np.abs(np.diff(rows.astype(int))).sum() <= 2 and np.abs(np.diff(columns.astype(int))).sum() <= 2
        share = pasted[0].sum() / (HEIGHT * WIDTH)
        expected = (1 - share) * np.eye(4) + share * np.roll(np.eye(4), 1, axis=0)
        np.testing.assert_allclose(targets, expected, atol=1e-7)
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-7)


@pytest.mark.parametrize(("height", "width"), [(60, 100), (80, 80)])
def test_boxes_have_the_images_shape_and_a_centre_anywhere(height, width):
    images = jnp.broadcast_to(jnp.arange(2.0)[:, None, None, None], (2, height, width, 1))
    keys = jax.random.split(jax.random.key(0), 1500)
    boxes = np.asarray(
        jax.jit(jax.vmap(lambda key: augment.cutmix(images, TARGETS[:2, :2], 0.5, key)[0][0, :, :, 0]))(keys)
    )
    # A box of side s (the image's is 1) lies within the image by s - s^2 / 4 along each axis, averaged over its centre.
    sides = np.sqrt(np.random.default_rng(0).beta(0.5, 0.5, 100_000))
    assert boxes.mean() == pytest.approx(((sides - sides**2 / 4) ** 2).mean(), abs=0.02)
    covered = boxes.mean(axis=0)
    for mirrored in (covered[::-1], covered[:, ::-1]):
        np.testing.assert_allclose(covered, mirrored, atol=0.08)
    borders = boxes[:, [0, -1]].any(axis=(1, 2)) | boxes[:, :, [0, -1]].any(axis=(1, 2))
    whole = boxes[~borders & boxes.any(axis=(1, 2))]
    rows, columns = whole.any(axis=2).sum(axis=1), whole.any(axis=1).sum(axis=1)
    assert len(whole) > 200 and np.abs(rows / height - columns / width).max() <= 1 / height + 1e-6


def test_images_keep_their_type():
    images, targets = jax.eval_shape(
        lambda: augment.cutmix(IMAGES.astype(jnp.bfloat16), TARGETS, 0.5, jax.random.key(0))
    )
    assert (images.dtype, targets.dtype) == (jnp.bfloat16, jnp.float32)
