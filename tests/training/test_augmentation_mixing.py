"""Mixup and CutMix: the targets follow the pixels; images of one brightness a class tell their share."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Augment
from ferlab.training.augmentation import changer

NOTHING = Augment("none")


def with_targets(augment: Augment, images: np.ndarray, targets: np.ndarray, seed: int = 1) -> Any:
    return changer(augment)(images, targets, np.random.default_rng(seed))


def black_and_white(count: int = 400, size_px: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Images all black (class 0) or all white (class 1) in turn; their brightness is the share of class 1."""
    white = np.arange(count) % 2
    images = np.repeat(255 * white, size_px**2).reshape(count, size_px, size_px, 1).astype(np.uint8)
    return images, np.eye(3, dtype=np.float32)[white]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_targets_of_mixup_follow_the_pixels(alpha: float) -> None:
    mixed, targets = with_targets(replace(NOTHING, mixup=alpha), *black_and_white())
    assert (mixed == mixed[:, :1, :1]).all()
    np.testing.assert_allclose(targets[:, 1], mixed[:, 0, 0, 0] / 255, atol=0.51 / 255)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert (targets[:, 2] == 0).all()
    assert 0.35 < ((mixed[:, 0, 0, 0] > 0) & (mixed[:, 0, 0, 0] < 255)).mean() < 0.65  # the partner is of either class


def test_alpha_of_mixup_says_how_even_the_shares_are() -> None:
    """Shares follow Beta(alpha, alpha): their variance is 1 / (4 (2 alpha + 1))."""
    images, targets = black_and_white(4000, 2)
    for alpha in (0.2, 1.0, 4.0):
        _, mixed = with_targets(replace(NOTHING, mixup=alpha), images, targets)
        shares = mixed[(mixed[:, 1] > 0) & (mixed[:, 1] < 1), 1]
        assert shares.mean() == pytest.approx(0.5, abs=0.05)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def box_of(image: np.ndarray) -> tuple[int, int]:
    """Height and width of the smallest box around what is not 0, (0, 0) where all is."""
    rows, columns = np.flatnonzero(image.any(axis=(1, 2))), np.flatnonzero(image.any(axis=(0, 2)))
    return (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) if len(rows) else (0, 0)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_targets_of_cutmix_follow_the_pixels(alpha: float) -> None:
    images, targets = black_and_white()
    cut, mixed = with_targets(replace(NOTHING, cutmix=alpha), images, targets)
    assert set(np.unique(cut)) == {0, 255}
    np.testing.assert_allclose(mixed[:, 1], cut.mean(axis=(1, 2, 3)) / 255, atol=1e-6)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    foreign = (cut != images).astype(np.uint8)
    for image in foreign:
        height, width = box_of(image)
        assert image.sum() == height * width
    touched = foreign.any(axis=(1, 2, 3))
    assert 0.3 < touched.mean() < 0.6  # the partner is of either class
    assert np.ptp(mixed[touched, 1]) > 0.8


def test_boxes_of_cutmix_are_as_large_as_the_share_where_no_edge_cuts_them() -> None:
    """Yun et al. 2019: sides sqrt(1 - share) of the image, centre anywhere, share uniform for alpha 1."""
    images, targets = black_and_white(4000, 64)
    cut, _ = with_targets(replace(NOTHING, cutmix=1.0), images, targets)
    foreign = (cut != images).astype(np.uint8)
    edges = foreign[:, [0, -1]].any(axis=(1, 2, 3)) | foreign[:, :, [0, -1]].any(axis=(1, 2, 3))
    inside = [box_of(image) for image in foreign[~edges & foreign.any(axis=(1, 2, 3))]]
    assert len(inside) > 100
    assert max(abs(height - width) for height, width in inside) <= 1


def test_with_both_each_batch_is_mixed_or_cut_half_of_the_time() -> None:
    augment, (images, targets) = replace(NOTHING, mixup=1.0, cutmix=1.0), black_and_white(40)
    cuts = 0
    for seed in range(200):
        mixed, shares = with_targets(augment, images, targets, seed)
        np.testing.assert_allclose(shares[:, 1], mixed.mean(axis=(1, 2, 3)) / 255, atol=0.51 / 255)
        cuts += set(np.unique(mixed)) <= {0, 255}
    assert cuts == pytest.approx(100, abs=4 * np.sqrt(50))


def test_a_batch_of_one_mixes_with_itself() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 1), dtype=np.uint8)
    targets = np.float32([[0, 1]])
    for augment in (replace(NOTHING, mixup=1.0), replace(NOTHING, cutmix=1.0)):
        mixed, shares = with_targets(augment, images, targets)
        np.testing.assert_array_equal(mixed, images)
        np.testing.assert_allclose(shares, targets, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_mixed_pixels_are_rounded_sums_of_both_images(channels: int) -> None:
    """With one-hot targets of their own, images tell their partner and share."""
    images = np.random.default_rng(0).integers(0, 256, (50, 12, 12, channels), dtype=np.uint8)
    mixed, shares = with_targets(replace(NOTHING, mixup=1.0), images, np.eye(50, dtype=np.float32))
    exact = np.tensordot(shares.astype(np.float64), images.astype(np.float64), axes=1)
    assert ((shares > 0).sum(axis=1) == 2).sum() > 40
    assert np.abs(mixed - exact).max() < 0.5 + 1e-4
