import hashlib

import numpy as np
import pytest

from dlrun.data.fingerprint import coincide, hash_content, hash_files, hash_samples, with_targets


def test_equal_samples_have_equal_hashes_and_no_others():
    x = np.random.default_rng(0).integers(0, 256, (200, 3, 4, 4), dtype=np.uint8)
    x[17] = x[3]
    hashes = hash_samples(x)
    assert hashes.dtype == np.int64
    assert hashes[17] == hashes[3]
    assert len(set(hashes.tolist())) == 199
    one_pixel = x.copy()
    one_pixel[5, 2, 3, 3] ^= 1
    assert (hash_samples(one_pixel) != hashes).nonzero()[0].tolist() == [5]


def test_the_hash_is_blake2b_of_type_shape_and_bytes():
    x = np.arange(12, dtype=np.uint8).reshape(2, 6)
    expected = hashlib.blake2b(b"|u1(6,)" + bytes(range(6, 12)), digest_size=8).digest()
    assert hash_samples(x)[1] == int.from_bytes(expected, "little", signed=True)


def test_no_samples_no_hashes():
    assert hash_samples(np.empty((0, 3, 4), np.uint8)).shape == (0,)


def test_shape_and_type_count():
    x = np.zeros((1, 4, 6), np.uint8)
    others = [x.reshape(1, 6, 4), x.reshape(1, 1, 4, 6), np.zeros((1, 4, 6), np.int8)]
    assert all(hash_samples(other)[0] != hash_samples(x)[0] for other in others)


def test_layout_in_memory_does_not_count():
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    turned = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert hash_samples(turned).tolist() == hash_samples(x).tolist()


def test_the_digest_changes_with_every_part():
    hashes, y = np.arange(4), np.array([0, 1, 0, 1])
    given = {"train": np.array([0, 1])}
    digests = {
        hash_content(hashes, y, ("a", "b"), given),
        hash_content(hashes[::-1], y, ("a", "b"), given),
        hash_content(hashes, 1 - y, ("a", "b"), given),
        hash_content(hashes, y, ("b", "a"), given),
        hash_content(hashes, y, ("a", "b"), {"test": np.array([0, 1])}),
        hash_content(hashes, y, ("a", "b"), {}),
    }
    assert len(digests) == 6
    assert hash_content(hashes, y, ("a", "b"), given) in digests


def test_the_key_of_files_changes_with_name_size_time_and_options():
    files = [("a/1.jpg", 10, 1000), ("a/2.jpg", 10, 1000)]
    keys = {
        hash_files(files),
        hash_files(files, 32),
        hash_files([files[0], ("a/3.jpg", 10, 1000)]),
        hash_files([files[0], ("a/2.jpg", 11, 1000)]),
        hash_files([files[0], ("a/2.jpg", 10, 1001)]),
        hash_files(files[:1]),
    }
    assert len(keys) == 6
    assert hash_files([("\udcff.jpg", 1, 1)]) != hash_files([("\udcfe.jpg", 1, 1)])


def made(kind):
    """Rows of a table, and whether those that are identical are so by chance."""
    draw = np.random.default_rng(0)
    real, few = draw.normal(size=(1000, 5)), draw.integers(0, 3, (1000, 4))
    codes, places = draw.integers(0, 6, 1000), draw.integers(0, 200, 1000)
    amount = np.c_[real[:, :1], draw.integers(0, 2, (1000, 5))]
    return {
        "none identical": (real, False),
        "copies": (np.r_[real, real[:100]], False),
        "copies with one real number": (np.r_[amount, amount[:50]], False),
        "few values": (few, True),
        "one-hot": (np.c_[np.eye(6)[codes], np.eye(3)[few[:, 0]]], True),
        "places and their towns": (np.c_[places, places // 10, few[:, 0]], True),
        "a gap is a value": (np.where(few == 2, np.nan, few), True),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("none identical", "copies", "copies with one real number", "few values"),
        *("one-hot", "places and their towns", "a gap is a value"),
    ],
)
def test_whether_rows_are_identical_by_chance(kind):
    rows, chance = made(kind)
    assert coincide(rows.astype(np.float32)) is chance


def test_rows_with_other_targets_are_other_rows():
    hashes = hash_samples(np.zeros((4, 2), np.float32))
    for y in (np.array([0, 1, 0, 2]), np.array([[0.5], [1], [0.5], [2]], np.float32)):
        found = with_targets(hashes, y)
        assert found[0] == found[2]
        assert len(set(found.tolist())) == 3
