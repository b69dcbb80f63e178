"""From pieces to windows of token ids on a device: the first of the two bridges between music and tensors.

Pieces are split, never windows: all windows of a tune are in one part, in whatever keys it is taken. Training windows
start at every bar line; validation and test windows do not overlap.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music import notes, transposition
from seqgan_music.cache import Cache, digest, source_digest
from seqgan_music.corpus import PARTS as PARTS
from seqgan_music.corpus import Refusal
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.tokenizers import is_musical
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.corpus import Corpus
    from seqgan_music.notes import Piece
    from seqgan_music.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Sequences of one part.

    Parameters
    ----------
    ids : Tensor (M, T), int
        Tokens without START, PAD after END.
    start : Tensor (M,), int
        Start token of each.
    piece : Tensor (M,), int
        Number of the piece each was cut from.
    """

    ids: Tensor
    start: Tensor
    piece: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Tokens (B, T) and start tokens (B,) of some rows, as int64."""
        return self.ids[rows].long(), self.start[rows].long()

    def batches(self, size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Every row once, in random order; the last batch may be smaller."""
        for rows in torch.randperm(len(self), generator=rng, device=self.ids.device).split(size):
            yield self[rows]

    def random(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`n` random rows: none twice unless there are fewer than `n`."""
        if n > len(self):
            return self[torch.randint(len(self), (n,), generator=rng, device=self.ids.device)]
        return self[torch.randperm(len(self), generator=rng, device=self.ids.device)[:n]]

    def to(self, device: torch.device | str) -> Windows:
        """The same on another device."""
        return Windows(self.ids.to(device), self.start.to(device), self.piece.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Windows of the three parts and what a network must know of their vocabulary.

    Parameters
    ----------
    train, validation, test : Windows
    vocab_size : int
        V, with END, PAD and START.
    end_id, pad_id : int
        −1 where the vocabulary has none.
    never : tuple of int
        Ids a generator never draws.
    """

    train: Windows
    validation: Windows
    test: Windows
    vocab_size: int
    end_id: int = -1
    pad_id: int = -1
    never: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """T."""
        return int(self.train.ids.shape[1])

    def to(self, device: torch.device | str) -> Dataset:
        """The same on another device."""
        parts = {part: getattr(self, part).to(device) for part in PARTS}
        return Dataset(**parts, vocab_size=self.vocab_size, end_id=self.end_id, pad_id=self.pad_id, never=self.never)

    def digest(self) -> str:
        """SHA-256 of the windows of all parts."""
        sha = hashlib.sha256()
        for part in PARTS:
            windows: Windows = getattr(self, part)
            sha.update(windows.ids.cpu().numpy().tobytes() + windows.start.cpu().numpy().tobytes())
        return sha.hexdigest()


_TOKENIZERS = "seqgan_music.tokenizers"
_SAID, _REFUSED = b"+", b"-"  # first byte of what the cache holds of a piece

Encoded = dict[int, list[list[int]]]
"""By number of a piece: its token ids, once for every key in which it is taken."""


def encode(
    pieces: Sequence[Piece],
    names: Sequence[str],
    tokenizer: Tokenizer,
    shifts: Iterable[int] = (0,),
    *,
    cache: Cache | None = None,
) -> tuple[Encoded, list[Refusal]]:
    """Token ids of every piece the tokenizer can say, and a reason for every other.

    Parameters
    ----------
    pieces : sequence of Piece
    names : sequence of str
        Of the pieces.
    tokenizer : Tokenizer
    shifts : iterable of int
        Semitones by which each piece is taken, see `seqgan_music.transposition.shifts`; those with which the tokenizer
        cannot say it are left out.
    cache : Cache, optional
        Where what the tokenizer said before is found again.
    """
    say = _Tokens(tokenizer, cache)
    shifts = sorted(shifts, key=abs)  # a piece that nothing helps is refused as it is
    encoded: Encoded = {}
    refusals = []
    for number, (piece, name) in enumerate(zip(pieces, names, strict=True)):
        said = {}
        refused: list[PieceRefused] = []
        for shift in shifts:
            try:
                said[shift] = say(piece, shift)
            except PieceRefused as why:
                refused.append(why)
        if said:
            encoded[number] = [said[shift] for shift in sorted(said)]
        else:
            refusals.append(Refusal(name, refused[0].reason, refused[0].detail))
    say.save()
    return encoded, refusals


class _Tokens:
    """A tokenizer's `encode`, and a memory of what it said."""

    def __init__(self, tokenizer: Tokenizer, cache: Cache | None) -> None:
        ours = type(tokenizer).__module__.startswith(_TOKENIZERS)  # the code of others may depend on anything
        self.tokenizer, self.cache = tokenizer, cache if ours else None
        self.fresh: dict[bytes, bytes] = {}
        self.prefix = b""
        if self.cache:
            code = [module for name, module in sorted(sys.modules.items()) if name.startswith(_TOKENIZERS)]
            told = json.dumps([type(tokenizer).__qualname__, tokenizer.to_dict(), versions()])
            self.prefix = digest(source_digest([*code, notes, transposition]), told)

    def __call__(self, piece: Piece, shift: int) -> list[int]:
        if self.cache is None:
            return self.tokenizer.encode(transposition.transposed(piece, shift))
        rest = (piece.resolution, piece.tempo, piece.metre, shift, [astuple(part) for part in piece.parts])
        key = digest(self.prefix, piece.notes.tobytes(), json.dumps(rest))
        packed = self.cache.get(key)
        if packed is None:
            try:
                ids = self.tokenizer.encode(transposition.transposed(piece, shift))
                if type(ids) is not list:  # it says more than its ids
                    return ids
                packed = _SAID + np.array(ids, "<i4").tobytes()
            except PieceRefused as refused:
                packed = _REFUSED + json.dumps([refused.reason, refused.detail]).encode()
            self.fresh[key] = packed
        if packed.startswith(_REFUSED):
            raise PieceRefused(*json.loads(packed[1:]))
        said: list[int] = np.frombuffer(packed, "<i4", offset=1).tolist()
        return said

    def save(self) -> None:
        """Keep what was said for the first time."""
        if self.cache:
            self.cache.put(self.fresh)


def drop_copies(encoded: Encoded, names: Sequence[str]) -> list[Refusal]:
    """Take out every piece that says what an earlier one says in one of its keys.

    Files with the very same notes are one tune for the corpus already; once they are tokens, so are those that differ
    in loudness or ticks alone, and once pieces are transposed, those with the same tune in two keys. All could else be
    trained on and tested with.

    Parameters
    ----------
    encoded : dict of int to lists of int
        From `encode`; changed.
    names : sequence of str
        Of the pieces.
    """
    first: dict[bytes, int] = {}
    refusals = []
    for number, ways in list(encoded.items()):
        digests = [hashlib.sha256(np.asarray(ids, dtype=np.int32).tobytes()).digest() for ids in ways]
        same = next((first[digest] for digest in digests if digest in first), None)
        if same is None:
            first.update(dict.fromkeys(digests, number))
        else:
            del encoded[number]
            refusals.append(
                Refusal(
                    names[number],
                    "duplicate",
                    f"same tokens as {names[same]}",
                )
            )
    return refusals


def cut(
    encoded: Mapping[int, Sequence[Sequence[int]]],
    numbers: Sequence[int],
    tokenizer: Tokenizer,
    length: int,
    *,
    every_bar: bool = False,
) -> Windows:
    """Windows of some encoded pieces.

    A piece that is taken in several keys comes round once for each, in another key than its neighbours: the first rows
    hold many pieces and all keys, as a small set of samples does.

    Parameters
    ----------
    encoded : mapping of int to sequences of int
        From `encode`.
    numbers : sequence of int
        Of one piece at least.
    tokenizer : Tokenizer
    length : int
        T, the tokens of a window.
    every_bar : bool
        A window from every bar line; otherwise without overlap.
    """
    rounds = max(len(encoded[number]) for number in numbers)
    order = [
        (number, encoded[number][(place + turn) % len(encoded[number])])
        for turn in range(rounds)
        for place, number in enumerate(numbers)
        if turn < len(encoded[number])
    ]
    small = _smallest_integer(tokenizer.vocab_size)
    windows = [tokenizer.windows(ids, length, every_bar=every_bar).astype(small) for _, ids in order]
    counts = [len(one) for one in windows]
    return Windows(
        torch.from_numpy(np.concatenate(windows)),
        torch.tensor(np.repeat([ids[0] for _, ids in order], counts)),
        torch.tensor(np.repeat([number for number, _ in order], counts)),
    )


def build(
    encoded: Mapping[int, Sequence[Sequence[int]]],
    split: Mapping[str, Sequence[int]],
    tokenizer: Tokenizer,
    *,
    length: int = 64,
) -> Dataset:
    """Cut encoded pieces into windows.

    Parameters
    ----------
    encoded : mapping of int to sequences of int
        From `encode`.
    split : mapping of str to sequence of int
        Numbers of the pieces of each part; those that are not encoded are left out.
    tokenizer : Tokenizer
    length : int
        T, the tokens of a window.

    Raises
    ------
    UsageError
        A part without a window.
    """
    if length < 2:
        raise UsageError(f"data.length must be at least 2, not {length!r}")
    parts = {}
    for part in PARTS:
        numbers = [number for number in split[part] if number in encoded]
        if not numbers:
            raise UsageError(f"no piece is left for the {part} part; a corpus needs at least three usable pieces")
        parts[part] = cut(encoded, numbers, tokenizer, length, every_bar=part == "train")
    never = (tokenizer.pad_id, *tokenizer.start_ids.values())
    return Dataset(
        **parts, vocab_size=tokenizer.vocab_size, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id, never=never
    )


def of_rows(
    tokens: np.ndarray, split: Mapping[str, Sequence[int]], tokenizer: Any, start: int, *, length: int | None = None
) -> Dataset:
    """Rows of tokens as the windows that they are.

    Parameters
    ----------
    tokens : ndarray (N, L), int
        A sequence in each row, -1 behind its last token.
    split : mapping of str to sequence of int
        Numbers of the rows of each part.
    tokenizer : Tokenizer or PlainTokens
        Whose tokens they are. Under one of music no row ends, so that END is never drawn; rows of plain tokens are
        followed by END and PAD where these are in the vocabulary.
    start : int
        Start token of every row.
    length : int, optional
        T; L if left out.
    """
    length = length or tokens.shape[1]
    musical = is_musical(tokenizer)
    end_id = -1 if musical else tokenizer.end_id
    never = (tokenizer.end_id, tokenizer.pad_id, *tokenizer.start_ids.values()) if musical else tokenizer.never
    ids = np.full((len(tokens), length), tokenizer.pad_id, dtype=_smallest_integer(tokenizer.vocab_size))
    width = min(length, tokens.shape[1])
    ids[:, :width] = np.where(tokens[:, :width] < 0, tokenizer.pad_id, tokens[:, :width])
    if end_id >= 0:
        filled = (tokens >= 0).sum(1)
        ends = np.flatnonzero(filled < length)
        ids[ends, filled[ends]] = end_id
    parts: dict[str, Any] = {
        part: Windows(
            torch.from_numpy(ids[list(split[part])]),
            torch.full((len(split[part]),), start),
            torch.tensor(split[part]),
        )
        for part in PARTS
    }
    return Dataset(**parts, vocab_size=tokenizer.vocab_size, end_id=end_id, pad_id=tokenizer.pad_id, never=never)


def describe(source: Corpus, tokenizer: Tokenizer, *, length: int = 64) -> dict[str, Any]:
    """Count what training on a corpus would use, lose and refuse.

    Parameters
    ----------
    source : Corpus
    tokenizer : Tokenizer
        Fitted to the corpus.
    length : int
        T, the tokens of a window.

    Returns
    -------
    dict
        ``tunes``, ``notes``, ``tokens``, ``windows`` (one from every bar line), ``pitch_range``, ``metres`` (tunes by
        metre), ``lost`` (what the tokens do not say, by kind: onsets that are rounded to the grid, or what the
        tokenizer's `loss` counts), ``refused`` (files by reason).
    """
    encoded, refused = encode(source.pieces, source.names, tokenizer)
    refused += drop_copies(encoded, source.names)
    used = [source.pieces[number] for number in encoded]
    reasons: dict[str, list[dict[str, str]]] = {}
    for refusal in [*source.refusals, *refused]:
        reasons.setdefault(refusal.reason, []).append({"path": refusal.path, "detail": refusal.detail})
    pitches = [note.pitch for piece in used for note in piece.notes]
    return {
        "tunes": len(used),
        "notes": len(pitches),
        "tokens": sum(len(ids) - 2 for (ids,) in encoded.values()),
        "windows": sum(len(tokenizer.windows(ids, length, every_bar=True)) for (ids,) in encoded.values()),
        "pitch_range": [min(pitches), max(pitches)] if pitches else [0, 0],
        "metres": dict(Counter("{}/{}".format(*piece.metre) for piece in used).most_common()),
        "lost": _lost(used, tokenizer),
        "refused": dict(sorted(reasons.items(), key=lambda item: -len(item[1]))),
    }


def _lost(pieces: Sequence[Piece], tokenizer: Tokenizer) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for piece in pieces:
        if hasattr(tokenizer, "loss"):
            counts.update(tokenizer.loss(piece))
        elif hasattr(tokenizer, "off_grid"):
            counts["rounded"] += tokenizer.off_grid(piece)
    return dict(counts)


def _smallest_integer(vocab_size: int) -> type[np.integer]:
    return np.int16 if vocab_size <= np.iinfo(np.int16).max else np.int32
