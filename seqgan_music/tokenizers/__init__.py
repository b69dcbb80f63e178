"""Tokenizers turn a `Piece` into token ids and any token ids into a `Piece`.

A tokenizer is a class with these members; one line here makes it known everywhere.

``encode(piece) -> list[int]``
    START, the piece's tokens, END; raises `PieceRefused` for a piece it cannot say.
``decode(ids) -> Piece``
    Total: any ids decode, none raise. A leading START gives the metre; END ends the reading.
``melodies(ids, start=None) -> Melodies``
    The same reading for a batch ``ids (B, T)`` without START, whose metres ``start (B,)`` gives; in torch, on the ids'
    device. Of a score of several parts it is the melody line.
``windows(ids, length, *, every_bar) -> ndarray (n, length)``
    Cuts an encoded piece at bar lines; a note held into a window is struck again at its start, PAD follows END.
``bar_tokens(start, bars) -> int | None``
    Tokens that fill some bars, or None where tokens have no fixed duration.
``fit(pieces, **options)`` (class method)
    A tokenizer whose vocabulary covers the pieces.
``vocab_size``, ``end_id``, ``pad_id``, ``start_ids`` (metre -> id)
    END, PAD and one START per metre are part of the vocabulary.
``musical``
    Whether its tokens say notes: True; a vocabulary of `VOCABULARIES` has False, and nothing above that has to do with
    pieces. A tokenizer of one's own that does not say is taken for one of music.
``polyphonic``
    Whether it takes pieces with all their parts; the others take a melody.
``to_dict()``, ``from_dict(d)``
    Plain values, enough to build it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from torch import Tensor

    from seqgan_music.notes import Melodies, Piece

TOKENIZERS = {
    "grid": "seqgan_music.tokenizers.grid:GridTokenizer",
    "note": "seqgan_music.tokenizers.note:NoteTokenizer",
    "pitch": "seqgan_music.tokenizers.pitch:PitchTokenizer",
    "miditok:REMI": "seqgan_music.tokenizers.remi:RemiTokenizer",
}
VOCABULARIES = {"tokens": "seqgan_music.tokenizers.plain:PlainTokens"}
"""What stands in a tokenizer's place for sequences that are no music."""


def is_musical(tokenizer: Any) -> bool:
    """Whether its tokens say notes, which one of the user's own may not say."""
    return bool(getattr(tokenizer, "musical", True))


class Tokenizer(Protocol):
    """What the rest of the program may ask of a tokenizer; see the module's description."""

    vocab_size: int
    end_id: int
    pad_id: int
    start_ids: Mapping[tuple[int, int], int]
    musical: bool
    polyphonic: bool

    def encode(self, piece: Piece) -> list[int]:
        """START, the piece's tokens, END."""

    def decode(self, ids: Sequence[int]) -> Piece:
        """Read any ids as a piece."""

    def melodies(self, ids: Tensor, start: Tensor | None = None) -> Melodies:
        """Read a batch of ids as melodies."""

    def windows(self, ids: Sequence[int], length: int, *, every_bar: bool) -> np.ndarray:
        """Cut an encoded piece at bar lines."""

    def bar_tokens(self, start: int, bars: float) -> int | None:
        """Tokens that fill some bars, or None where tokens have no fixed duration."""

    @classmethod
    def fit(cls, pieces: Iterable[Piece], **options: Any) -> Tokenizer:
        """Choose a vocabulary that covers the pieces."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, enough to build it again."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tokenizer:
        """Build it again."""
