"""Handwritten digits that come with scikit-learn: real, small, always at hand."""

from importlib.metadata import version

import numpy as np

from dlrun.data import Report, Source
from dlrun.data.cache import FORMAT, Labels, Writer, load
from dlrun.data.fingerprint import hash_files

SCALE = 15


def digits(cache: str | None = None, report: Report | None = None) -> Source:
    """1,797 digits of 43 people (Alpaydin and Kaynak, 1998), x (1797, 1, 8, 8) uint8.

    A pixel counts the inked dots of a 4×4 block, 0 to 16; times 15 it spans the range of
    uint8 as other images do, and nothing is lost.
    """

    def build(writer: Writer) -> Labels:
        from sklearn.datasets import load_digits  # takes a second to import

        images, labels = load_digits(return_X_y=True)
        writer.add((images * SCALE).astype(np.uint8).reshape(-1, 1, 8, 8))
        return Labels(labels.astype(np.int64), tuple("0123456789"))

    key = hash_files([], FORMAT, version("scikit-learn"), SCALE)
    return load("digits", key, build, cache)[0]
