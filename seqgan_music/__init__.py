"""Train a sequence GAN on a folder of MIDI and write new melodies.

>>> import seqgan_music as sm
>>> corpus = sm.read_corpus("midi_data/")                                   # doctest: +SKIP
>>> run = sm.train(corpus, algorithm="seqgan", preset="quick")              # doctest: +SKIP
>>> for piece in run.generate(8, seed=1):                                   # doctest: +SKIP
...     sm.write_midi(piece, f"{piece.title}.mid")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgan_music.corpus import read_corpus
    from seqgan_music.experiment import train
    from seqgan_music.midi import read as read_midi
    from seqgan_music.midi import write as write_midi
    from seqgan_music.notes import Note, Piece
    from seqgan_music.run import Run
    from seqgan_music.token_file import read_tokens

__version__ = "0.1.0"
__all__ = ["Note", "Piece", "Run", "read_corpus", "read_midi", "read_tokens", "train", "write_midi"]

# Loaded when first used, so that importing the package imports neither torch nor music21.
_WHERE = {
    "Note": ("notes", "Note"),
    "Piece": ("notes", "Piece"),
    "Run": ("run", "Run"),
    "read_corpus": ("corpus", "read_corpus"),
    "read_midi": ("midi", "read"),
    "read_tokens": ("token_file", "read_tokens"),
    "train": ("experiment", "train"),
    "write_midi": ("midi", "write"),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
