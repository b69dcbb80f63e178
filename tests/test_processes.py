"""Work in several processes: in order, and whatever happens to one of them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from seqgan_music.errors import Failure, UsageError
from seqgan_music.processes import Lost, in_processes

# Other processes import what they run by name.
WORK = """
import os, signal, time

def square(n):
    return n * n

def pid(n):
    time.sleep(0.01)
    return n, os.getpid()

def refuses(n):
    if n in {7, 9}:
        raise ValueError(f"no {n}", n)
    return n

def leaves(n):
    if n % 10 == 3:
        os._exit(3)
    return n

def dies(n):
    if n in {0, 5, 39}:
        os.kill(os.getpid(), signal.SIGSEGV)
    return n

def sleeps(n):
    if n == 5:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    return n

def slow(n):
    time.sleep(0.2)
    return n

def large(content):
    return content

def secret(n):
    return (lambda: n) if n == 4 else n
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / "work_of_a_test.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    import work_of_a_test

    yield work_of_a_test
    assert multiprocessing.active_children() == []
    del sys.modules["work_of_a_test"]


def test_results_come_in_order_from_several_processes(work):
    assert list(in_processes(work.square, range(1000), 3, worth=2)) == [n * n for n in range(1000)]
    found = list(in_processes(work.pid, range(200), 2, worth=2))
    assert [n for n, _ in found] == list(range(200))
    pids = {pid for _, pid in found}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_few_items_are_done_here(work):
    for items, processes, worth in [(range(199), 4, None), (range(199), 0, None), (range(50), 1, 2), (range(1), 4, 2)]:
        assert {pid for _, pid in in_processes(work.pid, items[:9], processes, worth=worth or 200)} == {os.getpid()}
    assert list(in_processes(work.square, [], 4)) == []


def test_what_the_function_raises_is_raised_in_its_turn(work):
    results = in_processes(work.refuses, range(40), 2, worth=2)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError, match="no 7") as raised:
        next(results)
    assert raised.value.args == ("no 7", 7)


def test_a_process_that_ends_loses_only_its_item(work):
    lost = Lost("ended its process (exit code 3)")
    assert list(in_processes(work.leaves, range(100), 2, worth=2)) == [lost if n % 10 == 3 else n for n in range(100)]


def test_a_process_that_is_killed_loses_only_its_item(work):
    lost = Lost(f"ended its process (exit code {-signal.SIGSEGV})")
    assert list(in_processes(work.dies, range(40), 3, worth=2)) == [lost if n in {0, 5, 39} else n for n in range(40)]


def test_a_result_that_cannot_be_sent_loses_only_its_item(work, capfd):
    assert list(in_processes(work.secret, range(10), 2, worth=2)) == [
        Lost("ended its process (exit code 1)") if n == 4 else n for n in range(10)
    ]
    assert "pickle" in capfd.readouterr().err  # a mistake of ours: its traceback is to be seen


def test_a_process_that_takes_too_long_loses_only_its_item(work):
    began = time.monotonic()
    found = list(in_processes(work.sleeps, range(40), 2, worth=2, seconds=1))
    assert found == [Lost("took more than 1 seconds") if n == 5 else n for n in range(40)]
    assert time.monotonic() - began < 20


def test_the_limit_is_for_each_item_and_not_for_the_one_that_waits_for_them(work):
    results = in_processes(work.slow, range(12), 2, worth=6, seconds=1)  # 16 at once: more than a second together
    found = [next(results)]
    time.sleep(1.5)
    assert found + list(results) == list(range(12))


def test_large_items_and_results_do_not_lock_up(work):
    items = [bytes([n]) * 1_000_000 for n in range(60)]
    assert list(in_processes(work.large, items, 2, worth=2)) == items


def test_no_process_is_left_when_the_results_are_no_longer_wanted(work):
    results = in_processes(work.slow, range(40), 2, worth=2)
    next(results)
    children = multiprocessing.active_children()
    assert len(children) == 2
    results.close()
    assert [child.exitcode is None for child in children] == [False, False]
    for child in children:  # waited for, so no zombie
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)


def test_processes_that_cannot_be_started(work, monkeypatch):
    with pytest.raises(UsageError, match="processes is -1"):
        next(in_processes(work.square, range(9), -1))
    process = multiprocessing.get_context("spawn").Process
    start, started = process.start, []

    def second_fails(self):
        if started:
            raise OSError(11, "Resource temporarily unavailable")
        started.append(self)
        start(self)

    monkeypatch.setattr(process, "start", second_fails)
    with pytest.raises(Failure, match="cannot be started: Resource temporarily unavailable"):
        next(in_processes(work.square, range(9), 2, worth=2))
    assert started[0].exitcode is not None


# Scripts


def script(tmp_path, text):
    (tmp_path / "work_of_a_test.py").write_text(WORK)
    (tmp_path / "script.py").write_text("import work_of_a_test\n" + textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_script_without_the_guard_is_told_so(tmp_path):
    running = script(
        tmp_path,
        """
        from seqgan_music.processes import in_processes
        print(list(in_processes(work_of_a_test.square, range(9), 2, worth=2)))
        """,
    )
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (1, "")
    assert "Failure: another process cannot be started (exit code 1); a script that reads with several" in err
    assert 'if __name__ == "__main__":' in err.splitlines()[-1]


WITH_GUARD = """
import multiprocessing
from seqgan_music.processes import in_processes
if __name__ == "__main__":
    for n in in_processes(work_of_a_test.slow, range(1000), 2, worth=2):
        if n == 0:
            print(*[child.pid for child in multiprocessing.active_children()], flush=True)
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_no_process_outlives_an_interrupted_script(tmp_path, how):
    running = script(tmp_path, WITH_GUARD)
    children = [int(pid) for pid in running.stdout.readline().split()]
    assert len(children) == 2
    if how == "Ctrl-C":
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
    else:
        running.kill()
    _, err = running.communicate(timeout=60)
    if how == "Ctrl-C":
        assert err.count("Traceback") == 1  # of the script itself; the others are silent
        assert err.splitlines()[-1] == "KeyboardInterrupt"
    deadline = time.monotonic() + 10
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, children))
