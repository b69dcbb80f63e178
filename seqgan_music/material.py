"""What a run is trained on: a corpus or a token file as windows in three parts, and where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music import config, corpus, dataset, finetuning, registry, run_settings, transposition
from seqgan_music.errors import UsageError
from seqgan_music.token_file import TokenFile
from seqgan_music.tokenizers import Tokenizer

if TYPE_CHECKING:
    from seqgan_music.cache import Cache
    from seqgan_music.corpus import Corpus
    from seqgan_music.dataset import Dataset
    from seqgan_music.notes import Piece
    from seqgan_music.run import Run

Settings = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a run is trained on.

    Parameters
    ----------
    tokenizer : Tokenizer
    data : Dataset
    corpus : dict
        Where it comes from, what was refused, and the split: what `run.json` says of it; ``unit``: what of a token
        file a sequence is.
    reading : dict, optional
        Options that files were read with.
    moved : dict of str to int
        Octaves by which pieces were moved into the range of another run's tokenizer.
    """

    tokenizer: Tokenizer
    data: Dataset
    corpus: dict[str, Any]
    reading: dict[str, Any] | None = None
    moved: dict[str, int] = dataclasses.field(default_factory=dict)


def prepare(
    source: Corpus | TokenFile,
    settings: Settings,
    *,
    init: Run | None = None,
    cache: Cache | None = None,
) -> Material:
    """Windows of a corpus, or the rows of a token file, split into parts.

    Parameters
    ----------
    source : Corpus or TokenFile
        Rows of tokens mean what the tokenizer of the settings says of them: one of music, in its first metre and
        without END, or that of plain tokens, whose T is the longest row's unless settings say it.
    settings, init, cache
        As for `Experiment.create`.

    Raises
    ------
    UsageError
        Settings or source cannot be used.
    """
    resolved = run_settings.resolve(settings)
    if isinstance(source, TokenFile):
        return _rows(source, settings, resolved, init)
    if run_settings.reading_options(resolved)["every_part"] < source.every_part:
        name = resolved["tokenizer"]["name"]
        raise UsageError(f"the corpus was read with every part, but tokenizer {name!r} takes a melody; read it anew")
    read = dataclasses.asdict(source.reading)
    if "reading" in settings and resolved["reading"] != read:
        raise UsageError("the settings in [reading] are not those the corpus was read with; read it with them")
    transpose = resolved["data"]["transpose"]
    pieces: Sequence[Piece] = [transposition.apply(piece, transpose) for piece in source.pieces]
    moved: dict[str, int] = {}
    if init is None:
        tokenizer = _fitted(resolved, pieces)
    else:
        finetuning.check_tokenizer(resolved, init)
        tokenizer = init.tokenizer
        pieces, moved = transposition.into_range(pieces, source.names, tokenizer)
    encoded, refused = dataset.encode(pieces, source.names, tokenizer, transposition.shifts(transpose), cache=cache)
    refused += dataset.drop_copies(encoded, source.names)
    if not encoded:
        raise UsageError(f"no piece of {source.root} can be used: {corpus.summary(refused)}")
    split = _split(encoded, resolved)
    data = dataset.build(encoded, split, tokenizer, length=resolved["data"]["length"])
    about = _about(source.root, source.digest, source.names, split, [*source.refusals, *refused], data)
    return Material(tokenizer, data, about, read, moved)


def _rows(source: TokenFile, settings: Settings, resolved: config.Config, init: Run | None) -> Material:
    """Rows of a file as windows, whose tokens mean what the settings say."""
    if resolved["data"]["transpose"] != "none":
        raise UsageError("rows of tokens have no notes to transpose; leave data.transpose at 'none'")
    musical = run_settings.is_music(resolved)
    if init is not None:
        if init.is_music > musical:
            raise UsageError(
                f"the run {init.directory} is of music, but {source.path} has plain tokens; start from a run of such "
                f"tokens, or say with tokenizer.name={init.settings['tokenizer']['name']} that they mean notes"
            )
        finetuning.check_tokenizer(resolved, init)
    tokenizer: Any = init.tokenizer if init is not None else _fitted(resolved, () if musical else source)
    ids = _notes(source, resolved, tokenizer) if musical else tokenizer.ids(source)
    lengths = source.lengths
    given = musical or "length" in settings.get("data", {})
    length = resolved["data"]["length"] if given else source.length + tokenizer.ends
    if length < 2:
        what = "data.length" if given else f"the longest {source.unit} of {source.path}, in tokens,"
        raise UsageError(f"{what} must be at least 2, not {length}")
    refused = [] if musical else _of_other_length(source, lengths, length, tokenizer.ends)
    left_out = {refusal.path for refusal in refused}
    start = next(iter(tokenizer.start_ids.values()))
    encoded: dataset.Encoded = {
        number: [[start, *row[:filled].tolist()]]
        for number, (row, filled, name) in enumerate(zip(ids, lengths, source.names, strict=True))
        if name not in left_out
    }
    refused += dataset.drop_copies(encoded, source.names)
    if len(encoded) < len(dataset.PARTS):
        why = f" ({corpus.summary(refused)})" if refused else ""
        raise UsageError(
            f"{source.path} has {len(encoded)} distinct {source.unit}{'' if len(encoded) == 1 else 's'} in "
            f"{len(source)} that can be used{why}; training, validation and test part need one each at least"
        )
    split = _split(encoded, resolved)
    data = dataset.of_rows(ids, split, tokenizer, start, length=length)
    about = _about(source.path, source.digest, source.names, split, refused, data)
    return Material(tokenizer, data, about | {"unit": source.unit})


def _notes(source: TokenFile, resolved: config.Config, tokenizer: Tokenizer) -> np.ndarray:
    """Ids of a file whose tokens a tokenizer of music reads."""
    name, length = resolved["tokenizer"]["name"], resolved["data"]["length"]
    if source.words:
        raise UsageError(f"{source.path} has words, such as {source.words[0]!r}, but tokenizer {name!r} reads integers")
    lengths = source.lengths
    if (shortest := int(lengths.min(initial=source.length))) < source.length:
        raise UsageError(
            f"{source.path} has {shortest} tokens in {source.names[int(lengths.argmin())]}, but {source.length} in "
            f"others; for tokenizer {name!r} all need as many"
        )
    if source.length != length:
        raise UsageError(
            f"{source.path} has rows of {source.length} tokens, but data.length is {length}; make it {source.length}"
        )
    if (most := int(source.tokens.max())) >= tokenizer.end_id:
        row = source.names[int((source.tokens == most).any(1).argmax())]
        raise UsageError(
            f"{source.path} has token {most} in {row}, but tokenizer {name!r} has {tokenizer.end_id}, "
            f"from 0 to {tokenizer.end_id - 1}"
        )
    return source.tokens


def _of_other_length(source: TokenFile, lengths: np.ndarray, length: int, ends: bool) -> list[corpus.Refusal]:
    """Rows that do not fit T tokens, or do not fill them although nothing says where they end, and empty ones."""
    room, names = length - ends, source.names
    return [
        corpus.Refusal(
            names[row],
            "too long" if lengths[row] > room else "too short",
            f"{lengths[row]} tokens, where there are {'1 to ' if ends else ''}{room}",
        )
        for row in np.flatnonzero((lengths > room) | ((lengths < room) & (not ends)) | (lengths == 0))
    ]


def _fitted(resolved: config.Config, source: Sequence[Piece] | TokenFile) -> Tokenizer:
    options = dict(resolved["tokenizer"])
    factory = registry.resolve(run_settings.TABLES["tokenizer"], "tokenizer", options.pop("name"), own_code=True)
    tokenizer: Tokenizer = factory.fit(source, **options)
    return tokenizer


def _split(encoded: dataset.Encoded, resolved: config.Config) -> dict[str, tuple[int, ...]]:
    return corpus.split(list(encoded), resolved["data"]["fractions"], resolved["data"]["split_seed"])


def _about(
    root: str,
    digest: str,
    names: Sequence[str],
    split: Mapping[str, Sequence[int]],
    refused: Sequence[corpus.Refusal],
    data: Dataset,
) -> dict[str, Any]:
    return {
        "root": str(Path(root).resolve()),
        "digest": digest,
        "pieces": sum(map(len, split.values())),
        "refused": [dataclasses.asdict(refusal) for refusal in refused],
        "split": {part: [names[number] for number in numbers] for part, numbers in split.items()},
        "windows": {part: len(getattr(data, part)) for part in dataset.PARTS},
        "windows_digest": data.digest(),
    }
