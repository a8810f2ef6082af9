"""Handwritten digits that come with scikit-learn: real, small, always there."""

import numpy as np
import torch

from dlrun.data import Report, Source
from dlrun.data.fingerprint import hash_content, hash_samples


def digits(report: Report | None = None) -> Source:
    """1,797 digits of 43 people (Alpaydin and Kaynak, 1998), x (1797, 1, 8, 8) uint8.

    A pixel counts the inked dots of a 4×4 block, so it goes from 0 to 16, not to 255,
    and is kept as it is.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    images, labels = load_digits(return_X_y=True)
    x = images.astype(np.uint8).reshape(-1, 1, 8, 8)
    y = labels.astype(np.int64)
    classes = tuple("0123456789")
    hashes = hash_samples(x)
    digest = hash_content(hashes, y, classes, {})
    rows = (torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(hashes))
    return Source("digits", *rows, digest, classes)
