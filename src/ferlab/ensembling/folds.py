"""Folds for fitting on one part of validation and looking at another."""

import numpy as np


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each sample (n,), 0..folds - 1: sizes of a class, and of all, differ by one at most.

    It also divides classes that have fewer samples than there are folds, where scikit-learn's stratified folds stop.
    Which samples have equal pixels is not known here; twins may lie in two folds.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[by_class] = np.arange(len(labels)) % folds
    return fold
