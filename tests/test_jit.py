"""Compiled kernels and their threads."""

import importlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from seqgan_music import jit

COMPILED = pytest.mark.skipif(not jit.available(), reason="numba is not installed")


@jit.kernel
def doubled(value):
    return value + value


@jit.kernel
def largest_doubled(values):
    largest = -np.inf
    for value in values:
        largest = max(largest, doubled(value))
    return largest


@COMPILED
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_calls_another_and_keeps_infinities(dtype):
    assert largest_doubled(np.array([1.0, 3.0, -np.inf], dtype)) == 6
    assert largest_doubled(np.array([-np.inf], dtype)) == -np.inf
    assert largest_doubled.__name__ == "largest_doubled"


@COMPILED
def test_a_kernel_is_compiled_where_nothing_can_be_written(monkeypatch):
    import numba

    plain = numba.njit

    def njit(**options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return plain(**options)

    monkeypatch.setattr(numba, "njit", njit)
    assert jit.kernel(doubled.__wrapped__)(21) == 42


def test_the_environment_and_a_missing_numba_say_no(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("SEQGAN_MUSIC_JIT", "0")
        assert not jit.available()
    with monkeypatch.context() as patch:
        patch.setattr(jit, "_numba", lambda: None)
        assert not jit.available()
        with pytest.raises(ModuleNotFoundError, match="needs numba"):
            jit.kernel(doubled.__wrapped__)(1)


@COMPILED
@pytest.mark.parametrize("kind", [ImportError, OSError])
def test_a_numba_that_cannot_be_imported_is_told_once(kind, monkeypatch):
    def fail(name):
        raise kind("Numba needs another NumPy")

    monkeypatch.setattr(importlib, "import_module", fail)
    jit._numba.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="another NumPy"):
            assert not jit.available()
        assert not jit.available()
    finally:
        jit._numba.cache_clear()


def test_defining_a_kernel_imports_no_numba():
    code = "import sys\nfrom seqgan_music import jit\n@jit.kernel\ndef f(x):\n    return x\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('numba' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_the_parts_of_the_threads_are_the_whole(threads):
    parts, names = [], set()
    barrier = threading.Barrier(threads, timeout=30)

    def work(first, last):
        barrier.wait()  # all run at once
        names.add(threading.current_thread().name)
        parts.append((first, last))

    jit.in_threads(work, 10)
    assert sorted(parts) == [(0, 3), (3, 6), (6, 10)]
    assert len(names) == threads


def test_little_work_stays_in_its_thread(threads):
    for count, least in [(2, 3), (0, 1), (5, 3)]:
        parts = []
        jit.in_threads(
            lambda first, last, parts=parts: parts.append((first, last, threading.get_ident())), count, least
        )
        assert parts == [(0, count, threading.get_ident())]


def test_each_has_a_thread_in_which_pytorch_has_one(threads):
    barrier = threading.Barrier(threads, timeout=30)

    def work(item):
        if item < threads:
            barrier.wait()  # as many run at once
        weight = torch.ones((), requires_grad=True)
        return item, threading.get_ident(), torch.get_num_threads(), (weight * 2).requires_grad

    done = list(jit.each_in_a_thread(work, iter(range(100))))
    assert [item for item, *_ in done] == list(range(100))
    assert len({name for _, name, *_ in done}) == threads
    assert {inside for *_, inside, _ in done} == {1}
    assert not any(grad for *_, grad in done)
    assert torch.get_num_threads() == threads
    seen = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert seen == [threads], "threads that begin later are not meant"


def test_an_error_in_one_of_many_ends_the_others(threads):
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            raise ValueError("in one")
        return item

    with pytest.raises(ValueError, match="in one"):
        list(jit.each_in_a_thread(work, range(10_000)))
    assert len(begun) < 10_000


def test_threads_are_kept_for_work_of_any_size(threads):
    seen = set()
    for count in (9, 2, 9, 2, 9):
        jit.in_threads(lambda first, last: seen.add(threading.current_thread()), count)
    assert len(seen) <= threads


def test_nobody_works_on_after_an_error(threads):
    ended = []

    def work(first, last):
        if first == 3:
            raise ValueError("in a part")
        if first == 6:
            time.sleep(0.2)
        ended.append(first)

    with pytest.raises(ValueError, match="in a part"):
        jit.in_threads(work, 9)
    assert sorted(ended) == [0, 6]


def test_an_error_in_a_thread_comes_out(threads):
    def work(first, last):
        if first:
            raise ValueError("in a part")

    with pytest.raises(ValueError, match="in a part"):
        jit.in_threads(work, 9)
