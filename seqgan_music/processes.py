"""Work shared by several processes, none of which can take the others down with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from seqgan_music.errors import Failure, UsageError

WORTH_A_PROCESS = 200
"""Items; fewer are done before a second process has started."""

_AT_ONCE = 16  # items sent to a process together
_AHEAD = 4096  # items that may be done before the one that is waited for

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Lost:
    """What stands in the place of a result that did not come.

    Parameters
    ----------
    why : str
        Whether the process died or overran.
    """

    why: str


def in_processes(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    processes: int,
    *,
    seconds: float | None = None,
    worth: int | None = None,
) -> Generator[_Result | Lost, None, None]:
    """Results in the order of the items, from several processes where it pays.

    A process that dies, or takes too long over one item, is replaced: its item is lost, the others are not.

    Parameters
    ----------
    function : callable
        Of one item; importable by name. What it raises is raised here.
    items : sequence
    processes : int
        How many; 0 takes one per core. With 1, or with few items, everything is done in this process.
    seconds : float, optional
        Longest time for one item in another process.
    worth : int, optional
        Items for which another process pays.

    Raises
    ------
    UsageError
        `processes` is negative.
    Failure
        Processes cannot be started.
    """
    if processes < 0:
        raise UsageError(f"processes is {processes}; it is 0 for one per core, or a number of processes")
    count = min(processes or os.cpu_count() or 1, len(items) // (worth or WORTH_A_PROCESS) + 1)
    if count == 1:
        yield from map(function, items)
        return
    waiting = deque(range(len(items)))
    done: dict[int, Any] = {}
    workers: list[_Worker] = []
    try:
        workers += (_Worker(function) for _ in range(count))
        for wanted in range(len(items)):
            while wanted not in done:
                for worker in workers:
                    worker.feed(items, waiting, wanted + _AHEAD)
                for worker in _heard(workers, seconds):
                    index, result, again = worker.take()
                    if index is not None:
                        done[index] = result
                    if again is not None:
                        waiting.extendleft(reversed(again))
                        workers[workers.index(worker)] = _Worker(function)
            result = done.pop(wanted)
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        for worker in workers:
            worker.stop()


def _heard(workers: list[_Worker], seconds: float | None) -> list[_Worker]:
    """Workers that have said something, are gone, or have taken too long."""
    now = time.monotonic()
    deadlines = [worker.since + seconds for worker in workers if seconds and worker.pending and worker.ready]
    heard = set(
        map(id, wait([worker.connection for worker in workers], max(0.0, min(deadlines) - now) if deadlines else None))
    )
    now = time.monotonic()
    for worker in workers:
        late = seconds and worker.pending and worker.ready and now > worker.since + seconds
        if late and id(worker.connection) not in heard:
            worker.kill(f"took more than {seconds:g} seconds")
            heard.add(id(worker.connection))
    return [worker for worker in workers if id(worker.connection) in heard]


@dataclass(eq=False)
class _Worker:
    """A process, and what it has been asked to do."""

    function: Callable[[Any], Any]
    pending: deque[int] = field(default_factory=deque)
    ready: bool = False
    since: float = 0.0
    killed: str = ""

    def __post_init__(self) -> None:
        # A fork of a process in which torch has started threads may lock up, so workers start anew.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.function, theirs), daemon=True)
        try:
            with _deaf_to_ctrl_c():
                self.process.start()
        except OSError as error:
            raise Failure(f"another process cannot be started: {error.strerror}; ask for fewer") from error
        finally:
            theirs.close()

    def feed(self, items: Sequence[Any], waiting: deque[int], limit: int) -> None:
        """Give the process work if it has none; one that is sending results would not take it."""
        if self.pending or not waiting or waiting[0] >= limit:
            return
        chosen = [waiting.popleft() for _ in range(min(_AT_ONCE, len(waiting)))]
        self.since = time.monotonic()
        self.pending.extend(chosen)
        with contextlib.suppress(OSError):  # it is gone, which `take` will notice
            self.connection.send([(index, items[index]) for index in chosen])

    def take(self) -> tuple[int | None, Any, list[int] | None]:
        """Index and result of what was done; and if the process is gone, what it leaves undone."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            if not self.ready and not self.killed:
                self.process.join()
                raise Failure(
                    f"another process cannot be started (exit code {self.process.exitcode}); a script that reads with "
                    'several processes needs if __name__ == "__main__":'
                ) from None
            lost = self.pending.popleft() if self.pending else None
            again = list(self.pending)
            self.process.join(1)  # its own exit code, before that of its end here
            self.stop()
            return lost, Lost(self.killed or f"ended its process (exit code {self.process.exitcode})"), again
        self.since = time.monotonic()
        if said is None:
            self.ready = True
            return None, None, None
        index, result = said
        self.pending.remove(index)
        return index, result, None

    def kill(self, why: str) -> None:
        """End it because it takes too long."""
        self.killed = why
        self.process.kill()

    def stop(self) -> None:
        """End it, whatever it does."""
        self.connection.close()
        self.process.kill()
        self.process.join()


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process that is started meanwhile leaves Ctrl-C to the one that reads its results, while it starts too."""
    if threading.current_thread() is not threading.main_thread():  # others may not say what a signal does
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    """What a worker does until its connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that reads the results
    with contextlib.suppress(EOFError, OSError):
        connection.send(None)
        while True:
            for index, item in connection.recv():
                try:
                    result = function(item)
                except Exception as error:
                    result = error
                connection.send((index, result))
