"""What is found again, and what happens to a cache that is damaged, full, locked or gone."""

import random
import shutil
import sqlite3
import subprocess
import sys
from functools import partial
from types import ModuleType

import pytest

from seqgan_music.cache import VARIABLE, Cache, digest, source_digest

ENTRIES = {bytes([n]) * 8: random.Random(n).randbytes(n * 50) for n in range(200)}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "some" / "where")


def found(cache):
    return {key: value for key in ENTRIES if (value := cache.get(key)) is not None}


def test_what_was_put_is_found_again_by_another(cache):
    assert found(cache) == {}
    cache.put(ENTRIES)
    cache.put({})
    assert found(cache) == found(Cache(cache.path.parent)) == ENTRIES
    cache.put({bytes(8): b"anew"})
    assert cache.get(bytes(8)) == b"anew"


def test_the_place_is_the_users_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "system"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert tmp_path in Cache.of_user().path.parents
    assert "seqgan-music" in Cache.of_user().path.parts
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert Cache.of_user().path.parent == tmp_path / "mine"
    monkeypatch.setenv(VARIABLE, "off")
    assert Cache.of_user() is None


# Damage


def closed(cache):
    """Everything in its one file."""
    cache._database.close()
    return cache.path


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"These are words. " * 300,
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: content[:16] + b"\xff" * 200 + content[216:],
    ],
)
def test_a_damaged_file_is_begun_anew(cache, damage):
    cache.put(ENTRIES)
    path = closed(cache)
    path.write_bytes(damage(path.read_bytes()))
    again = Cache(path.parent)
    assert found(again).items() <= ENTRIES.items()
    again.put(ENTRIES)
    third = Cache(path.parent)
    assert found(again).items() <= ENTRIES.items()
    assert found(third).items() <= ENTRIES.items()


def test_a_changed_value_is_not_found(cache):
    cache.put(ENTRIES)
    path = closed(cache)
    content = path.read_bytes()
    draw = random.Random(0)
    lost = 0
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(3):
            changed[draw.randrange(100, len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        again = Cache(path.parent)
        values = found(again)
        assert values.items() <= ENTRIES.items()
        lost += len(values) < len(ENTRIES)
        again.put({b"new": b"value"})
        closed(again)
    assert lost > 50


# No place


def test_where_nothing_can_be_written_nothing_is_held(tmp_path):
    (tmp_path / "a file").write_text("text")
    (tmp_path / "folder" / "cache.sqlite3" / "taken").mkdir(parents=True)
    for folder in (tmp_path / "a file", tmp_path / "folder", tmp_path / "a file" / "below", tmp_path / ("x" * 300)):
        cache = Cache(folder)
        cache.put(ENTRIES)
        assert found(cache) == {}
    assert (tmp_path / "a file").read_text() == "text"
    assert (tmp_path / "folder" / "cache.sqlite3" / "taken").is_dir()


def test_a_full_disk_is_survived(cache):
    cache.put({b"first": b"value"})
    cache._database.execute("PRAGMA max_page_count = 8")
    cache.put({b"second": bytes(100_000)})
    assert (cache.get(b"first"), cache.get(b"second")) == (b"value", None)
    cache.put({b"third": b"small"})
    assert cache.get(b"third") == b"small"


def test_a_cache_that_another_holds_is_left_alone(cache, monkeypatch):
    cache.put(ENTRIES)
    path = closed(cache)
    monkeypatch.setattr(
        sqlite3, "connect", partial(lambda path, timeout, connect: connect(path, timeout=0.1), connect=sqlite3.connect)
    )
    holder = sqlite3.connect(path, timeout=1)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    cache = Cache(path.parent)
    cache.put({b"new": b"value"})
    assert found(cache) == {}
    holder.close()
    assert found(Cache(path.parent)) == ENTRIES


# Room


def test_a_cache_that_has_grown_too_large_is_emptied(cache):
    cache.put(ENTRIES)
    size = closed(cache).stat().st_size
    assert found(Cache(cache.path.parent, most_bytes=size)) == ENTRIES
    assert found(Cache(cache.path.parent, most_bytes=size - 1)) == {}


def test_it_may_be_deleted_while_it_is_used(cache):
    cache.put(ENTRIES)
    shutil.rmtree(cache.path.parent)
    assert found(cache).items() <= ENTRIES.items()
    cache.put(ENTRIES)
    again = Cache(cache.path.parent)
    assert found(again) == {}
    again.put(ENTRIES)
    assert found(again) == ENTRIES


WRITER = """
import sys
from pathlib import Path
from seqgan_music.cache import Cache
cache = Cache(Path(sys.argv[1]))
for n in range(200):
    cache.put({f"{sys.argv[2]} {n}".encode(): str(n).encode() * 99})
"""


def test_several_may_write_at_once(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, str(k)], stderr=subprocess.PIPE) for k in range(3)
    ]
    for writer in writers:
        assert writer.communicate(timeout=60)[1] == b""
    cache = Cache(tmp_path)
    assert all(cache.get(f"{k} {n}".encode()) == str(n).encode() * 99 for k in range(3) for n in range(200))


# Keys


def test_a_digest_tells_parts_apart():
    parts = [("ab",), ("a", "b"), ("", "ab"), ("ab", ""), (b"ab\0",), ("b", "a")]
    assert len({digest(*each) for each in parts}) == len(parts)
    assert digest("é") == digest("é".encode())


def test_the_digest_of_code_changes_with_it(tmp_path):
    module = ModuleType("some")
    module.__file__ = str(tmp_path / "some.py")
    (tmp_path / "some.py").write_text("one")
    before = source_digest([module])
    assert source_digest([module]) == before
    (tmp_path / "some.py").write_text("two")
    assert source_digest([module]) != before
