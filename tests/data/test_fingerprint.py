import hashlib

import numpy as np

from dlrun.data.fingerprint import hash_content, hash_files, hash_samples


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
