import threading

import numpy as np
import pytest
import torch

from dlrun.engine.batches import AHEAD, batches, gather, grouped, order, sizes, will_need


def samples(n=23):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 3, 4, 5), dtype=torch.uint8, generator=generator)
    return x, torch.arange(n)


@pytest.mark.parametrize(
    ("count", "size", "wanted"),
    [
        (0, 4, [0]),
        (1, 4, [1]),
        (4, 4, [4]),
        (5, 4, [3, 2]),
        (7, 4, [4, 3]),
        (9, 4, [4, 3, 2]),
        (3, 2, [2, 1]),
        (2, 1, [1, 1]),
    ],
)
def test_no_sample_stands_alone_where_there_are_others(count, size, wanted):
    assert sizes(count, size) == wanted
    assert [len(part) for part in torch.arange(count).split(wanted)] == wanted


def prefetching():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_an_order_has_every_row_once_and_depends_on_seed_and_epoch_alone():
    rows = torch.tensor([9, 4, 7, 30, 2, 11, 5, 6])
    first = order(rows, epoch=3, seed=1)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, order(rows, epoch=3, seed=1))
    assert torch.equal(state, torch.get_rng_state())
    assert sorted(first.tolist()) == sorted(rows.tolist())
    others = [order(rows, 4, 1), order(rows, 3, 2), order(rows, 1, 3)]
    assert all(not torch.equal(first, other) for other in others)


def test_the_order_is_the_one_it_has_always_been():
    # A run of an earlier release must go on with the same batches.
    assert order(torch.arange(8), epoch=2, seed=5).tolist() == [0, 3, 4, 5, 1, 7, 2, 6]


def test_orders_are_uniform():
    counts = torch.zeros(4, 4)
    for epoch in range(2000):
        counts[order(torch.arange(4), epoch, seed=0), torch.arange(4)] += 1
    assert ((counts - 500).abs() < 5 * (2000 * 0.25 * 0.75) ** 0.5).all()


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("size", [5, 23])
def test_batches_are_the_rows_in_order(prefetch, size):
    x, y = samples()
    rows = torch.randperm(23, generator=torch.Generator().manual_seed(1))
    got = list(batches(x, y, rows, size, "cpu", prefetch))
    expected = [rows[i : i + size].numpy() for i in range(0, 23, size)]
    assert len(got) == len(expected)
    for (bx, by), part in zip(got, expected, strict=True):
        np.testing.assert_array_equal(bx.numpy(), x.numpy()[part])
        np.testing.assert_array_equal(by.numpy(), y.numpy()[part])
        assert bx.dtype == torch.uint8
    assert not prefetching()


def test_full_batch_and_single_samples():
    x, y = samples(7)
    [(bx, _)] = batches(x, y, torch.arange(7), 7, "cpu")
    assert torch.equal(bx, x)
    assert [by.item() for _, by in batches(x, y, torch.arange(7), 1, "cpu")] == list(range(7))


def test_a_batch_is_a_copy():
    x, y = samples(6)
    before = x.clone()
    for bx, _ in batches(x, y, torch.arange(6), 3, "cpu"):
        bx.zero_()
    assert torch.equal(x, before)


def test_gathering_from_mapped_memory(tmp_path):
    x, y = samples()
    x.numpy().tofile(tmp_path / "x.bin")
    mapped = torch.from_numpy(np.memmap(tmp_path / "x.bin", np.uint8, "c", shape=x.shape))
    rows = torch.tensor([4, 0, 22])
    bx, by = gather(mapped, y, rows)
    assert torch.equal(bx, x[rows])
    assert by.tolist() == [4, 0, 22]


def test_what_is_mapped_is_asked_for_in_the_order_of_the_disk(tmp_path, monkeypatch):
    x = torch.arange(40 * 4096, dtype=torch.int32).reshape(40, 4096)
    x.numpy().tofile(tmp_path / "x.bin")
    mapped = torch.from_numpy(np.memmap(tmp_path / "x.bin", np.int32, "c", shape=x.shape))
    asked: list[list[int]] = []

    def remember(start, length, advice):
        row = (start + length - mapped.data_ptr()) // x[0].nbytes - 1
        asked[-1].append(row)
        return 0

    def window(x, rows):
        asked.append([])
        will_need(x, rows)

    monkeypatch.setattr("dlrun.engine.batches._madvise", lambda: remember)
    monkeypatch.setattr("dlrun.engine.batches.will_need", window)
    monkeypatch.setattr("dlrun.engine.batches.WINDOW", 3 * 5 * x[0].nbytes)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    got = list(batches(mapped, torch.arange(40), rows, 5, "cpu", prefetch=True))
    assert torch.equal(torch.cat([bx for bx, _ in got]), x[rows])
    assert asked == [sorted(rows[:30].tolist()), sorted(rows[30:].tolist()), []]


def test_what_the_thread_raises_is_raised_here():
    x, y = samples()
    rows = torch.arange(23)
    rows[12] = 1000
    got = []
    with pytest.raises(IndexError):
        got.extend(iter(batches(x, y, rows, 5, "cpu", prefetch=True)))
    assert not prefetching()


def test_batches_before_the_error_arrive():
    x, y = samples()
    rows = torch.arange(23)
    rows[12] = 1000
    running = batches(x, y, rows, 5, "cpu", prefetch=True)
    assert next(running)[1].tolist() == [0, 1, 2, 3, 4]
    assert next(running)[1].tolist() == [5, 6, 7, 8, 9]
    with pytest.raises(IndexError):
        next(running)


def test_closing_ends_the_thread():
    x, y = samples()
    running = batches(x, y, torch.arange(23), 2, "cpu", prefetch=True)
    next(running)
    assert len(prefetching()) == 1
    running.close()
    assert not prefetching()


def test_no_more_than_a_few_batches_are_gathered_ahead(monkeypatch):
    gathered = []

    def count(x, y, rows):
        gathered.append(rows)
        return gather(x, y, rows)

    monkeypatch.setattr("dlrun.engine.batches.gather", count)
    x, y = samples()
    running = batches(x, y, torch.arange(23), 1, "cpu", prefetch=True)
    for taken in range(1, 6):
        next(running)
        assert len(gathered) <= taken + AHEAD
    running.close()
    assert len(gathered) < 23


def test_groups_are_of_one_size_but_the_last():
    pairs = [(torch.tensor(i), torch.tensor(i)) for i in range(7)]
    groups = list(grouped(pairs, 3))
    assert [len(group) for group in groups] == [3, 3, 1]
    assert [int(x) for group in groups for x, _ in group] == list(range(7))
