"""The vocabulary of sequences that are no music: integers or words, each its own token.

It says what `dataset` and the networks must know of the ids, and reads no notes into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from seqgan_music.errors import UsageError

if TYPE_CHECKING:
    from seqgan_music.token_file import TokenFile

OWN_START = -1
MOST = 1_000_000  # tokens: beyond that the numbers of a file are no tokens, and a network of them fits no memory


class PlainTokens:
    """Integers or words that are no music, for `train --tokens`.

    The ids are 0 .. size − 1, then END and PAD where there are any, then START unless it is an ordinary token.

    Parameters
    ----------
    size : int
        Number of tokens; 0: as many as the file needs, or as there are words.
    words : sequence of str
        What each token says; empty where tokens are integers.
    ends : bool
        Whether sequences end before the last position, so that there are END and PAD.
    start : int
        The token that every sequence begins from, which is read and not part of it (Yu et al. 2017 in their program:
        0); −1: a START of its own.

    Attributes
    ----------
    vocab_size : int
        V, with END, PAD and START.
    end_id, pad_id : int
        −1 where there are none.
    start_ids : dict
        The one START, of no metre: ``{(): id}``.
    never : tuple of int
        Ids that are never drawn.

    Raises
    ------
    UsageError
        An option out of its range.
    """

    musical: ClassVar[bool] = False
    polyphonic: ClassVar[bool] = False

    def __init__(self, *, size: int = 0, words: Sequence[str] = (), ends: bool = False, start: int = OWN_START) -> None:
        listed = isinstance(words, list | tuple)
        if not listed or any(not isinstance(word, str) or word.split() != [word] for word in words):
            raise UsageError("tokenizer.words must be a list of words without white space")
        if len(set(words)) < len(words):
            raise UsageError("tokenizer.words must not name a word twice")
        if words and size not in (0, len(words)):
            raise UsageError(f"tokenizer.size is {size}, but tokenizer.words has {len(words)}; leave one of them out")
        size = size or len(words)
        if not 1 <= size <= MOST:
            raise UsageError(f"tokenizer.size must lie in 1..{MOST}, not {size!r}")
        if not OWN_START <= start < size:
            raise UsageError(f"tokenizer.start must be one of the {size} tokens from 0, or {OWN_START}, not {start!r}")
        self.size, self.words, self.ends, self.start = size, tuple(words), ends, start
        self.end_id, self.pad_id = (size, size + 1) if ends else (-1, -1)
        self.vocab_size = size + 2 * ends + (start == OWN_START)
        self.start_ids: Mapping[tuple[()], int] = {(): self.vocab_size - 1 if start == OWN_START else start}
        self.never = ((self.pad_id,) if ends else ()) + ((self.vocab_size - 1,) if start == OWN_START else ())

    @classmethod
    def fit(cls, source: TokenFile, **options: Any) -> Self:
        """A vocabulary that covers a file, with END where its sequences differ in length.

        Raises
        ------
        UsageError
            Numbers that are too large for a vocabulary.
        """
        options = {"ends": bool((source.lengths < source.length).any()), **options}
        if source.words:
            options = {"words": source.words, **options}
        elif not options.get("words") and not options.get("size"):
            options["size"] = int(source.tokens.max(initial=0)) + 1
            if options["size"] > MOST:
                row = source.names[int(source.tokens.max(1).argmax())]
                raise UsageError(
                    f"{source.path} has token {source.tokens.max()} in {row}; a vocabulary has {MOST} at most: number "
                    "the tokens from 0 on"
                )
        return cls(**options)

    def to_dict(self) -> dict[str, Any]:
        """Options that build this vocabulary again."""
        return {"size": self.size, "words": list(self.words), "ends": self.ends, "start": self.start}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a vocabulary from `to_dict`'s values."""
        return cls(**values)

    def ids(self, source: TokenFile) -> np.ndarray:
        """A file's tokens (N, T) as this vocabulary numbers them, −1 where there are none.

        Raises
        ------
        UsageError
            A token that is not in it, or words where it has integers.
        """
        if bool(source.words) != bool(self.words):
            has, wants = ("words", "integers") if source.words else ("integers", "words")
            raise UsageError(f"{source.path} has {has} as tokens, but this vocabulary has {wants}")
        own = {word: number for number, word in enumerate(self.words)}
        number = np.array([*(own.get(word, self.size) for word in source.words), -1])
        ids: np.ndarray = number[source.tokens] if self.words else source.tokens
        unknown = ids >= self.size
        if unknown.any():
            row, place = divmod(int(unknown.argmax()), ids.shape[1])
            token = source.tokens[row, place]
            what = f"the word {source.words[token]!r}" if self.words else f"token {token}"
            raise UsageError(
                f"{source.path} has {what} in {source.names[row]}, which is none of the {self.size} of this vocabulary"
            )
        return ids

    def tokens(self, ids: Sequence[int]) -> list[int] | list[str]:
        """What ids without START say, up to END: integers or words."""
        said = []
        for token in ids:
            if not 0 <= token < self.size:
                break
            said.append(int(token))
        return [self.words[token] for token in said] if self.words else said

    def line(self, ids: Sequence[int]) -> str:
        """The same as a line of text."""
        return " ".join(map(str, self.tokens(ids)))
