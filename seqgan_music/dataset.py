"""From pieces to windows of token ids on a device: the first of the two bridges between music and tensors.

Pieces are split, never windows: all windows of a tune are in one part. Training windows start at every bar line;
validation and test windows do not overlap.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music.corpus import PARTS as PARTS
from seqgan_music.corpus import Refusal
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.tokenizers.grid import GridTokenizer

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


def encode(
    pieces: Sequence[Piece], names: Sequence[str], tokenizer: Tokenizer
) -> tuple[dict[int, list[int]], list[Refusal]]:
    """Token ids of every piece the tokenizer can say, by the piece's number, and a reason for every other."""
    encoded: dict[int, list[int]] = {}
    refusals = []
    for number, (piece, name) in enumerate(zip(pieces, names, strict=True)):
        try:
            encoded[number] = tokenizer.encode(piece)
        except PieceRefused as refused:
            refusals.append(Refusal(name, refused.reason, refused.detail))
    return encoded, refusals


def build(
    encoded: Mapping[int, Sequence[int]], split: Mapping[str, Sequence[int]], tokenizer: Tokenizer, *, length: int = 64
) -> Dataset:
    """Cut encoded pieces into windows.

    Parameters
    ----------
    encoded : mapping of int to sequence of int
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
        cut = [tokenizer.windows(encoded[number], length, every_bar=part == "train") for number in numbers]
        if not cut:
            raise UsageError(f"no piece is left for the {part} part; a corpus needs at least three usable pieces")
        counts = [len(windows) for windows in cut]
        parts[part] = Windows(
            torch.from_numpy(np.concatenate(cut).astype(_smallest_integer(tokenizer.vocab_size))),
            torch.tensor(np.repeat([encoded[number][0] for number in numbers], counts)),
            torch.tensor(np.repeat(numbers, counts)),
        )
    never = (tokenizer.pad_id, *tokenizer.start_ids.values())
    return Dataset(
        **parts, vocab_size=tokenizer.vocab_size, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id, never=never
    )


def describe(source: Corpus, *, length: int = 64, steps_per_quarter: int = 4) -> dict[str, Any]:
    """Count what training on a corpus with the grid would use and refuse.

    Returns
    -------
    dict
        ``tunes``, ``notes``, ``tokens``, ``windows`` (one from every bar line), ``pitch_range``, ``metres`` (tunes by
        metre), ``off_grid`` (onsets that are rounded), ``refused`` (files by reason).
    """
    tokenizer = GridTokenizer.fit(source.pieces, steps_per_quarter=steps_per_quarter)
    encoded, refused = encode(source.pieces, source.names, tokenizer)
    used = [source.pieces[number] for number in encoded]
    reasons: dict[str, list[dict[str, str]]] = {}
    for refusal in [*source.refusals, *refused]:
        reasons.setdefault(refusal.reason, []).append({"path": refusal.path, "detail": refusal.detail})
    pitches = [note.pitch for piece in used for note in piece.notes]
    return {
        "tunes": len(used),
        "notes": len(pitches),
        "tokens": sum(len(ids) - 2 for ids in encoded.values()),
        "windows": sum(len(tokenizer.windows(ids, length, every_bar=True)) for ids in encoded.values()),
        "pitch_range": [min(pitches), max(pitches)] if pitches else [0, 0],
        "metres": dict(Counter("{}/{}".format(*piece.metre) for piece in used).most_common()),
        "off_grid": sum(tokenizer.off_grid(piece) for piece in used),
        "refused": dict(sorted(reasons.items(), key=lambda item: -len(item[1]))),
    }


def _smallest_integer(vocab_size: int) -> type[np.integer]:
    return np.int16 if vocab_size <= np.iinfo(np.int16).max else np.int32
