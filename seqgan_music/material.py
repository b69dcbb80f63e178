"""What a run is trained on: a corpus or a token file as windows in three parts, and where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_music import config, corpus, dataset, finetuning, registry, run_settings, transposition
from seqgan_music.errors import UsageError
from seqgan_music.token_file import TokenFile
from seqgan_music.tokenizers import TOKENIZERS, Tokenizer

if TYPE_CHECKING:
    from seqgan_music.cache import Cache
    from seqgan_music.corpus import Corpus
    from seqgan_music.dataset import Dataset
    from seqgan_music.notes import Piece
    from seqgan_music.run import Run


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a run is trained on.

    Parameters
    ----------
    tokenizer : Tokenizer
    data : Dataset
    corpus : dict
        Where it comes from, what was refused, and the split: what `run.json` says of it.
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
    settings: Mapping[str, Mapping[str, Any]],
    *,
    init: Run | None = None,
    cache: Cache | None = None,
) -> Material:
    """Windows of a corpus, or the rows of a token file, split into parts.

    Parameters
    ----------
    source : Corpus or TokenFile
        Rows of tokens mean what the tokenizer of the settings says of them, in its first metre; none of them ends.
    settings, init, cache
        As for `Experiment.create`.

    Raises
    ------
    UsageError
        Settings or source cannot be used.
    """
    resolved = run_settings.resolve(settings)
    if isinstance(source, TokenFile):
        return _rows(source, resolved)
    if source.every_part and not run_settings.reading_options(resolved)["every_part"]:
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


def _rows(source: TokenFile, resolved: config.Config) -> Material:
    if source.length != resolved["data"]["length"]:
        raise UsageError(
            f"{source.path} has rows of {source.length} tokens, but data.length is {resolved['data']['length']}; "
            f"make it {source.length}"
        )
    if resolved["data"]["transpose"] != "none":
        raise UsageError("rows of tokens have no notes to transpose; leave data.transpose at 'none'")
    tokenizer = _fitted(resolved, ())
    if (most := int(source.tokens.max())) >= tokenizer.end_id:
        row = int((source.tokens == most).any(1).argmax()) + 1
        raise UsageError(
            f"{source.path} has token {most} in row {row}, but tokenizer {resolved['tokenizer']['name']!r} has "
            f"{tokenizer.end_id}, from 0 to {tokenizer.end_id - 1}"
        )
    start = next(iter(tokenizer.start_ids.values()))
    encoded: dataset.Encoded = {number: [[start, *row]] for number, row in enumerate(source.tokens.tolist())}
    refused = dataset.drop_copies(encoded, source.names)
    if len(encoded) < len(dataset.PARTS):
        raise UsageError(
            f"{source.path} has {len(encoded)} distinct row{'s' if len(encoded) > 1 else ''} in {len(source)}; "
            "training, validation and test part need one each at least"
        )
    split = _split(encoded, resolved)
    data = dataset.of_rows(source.tokens, split, tokenizer, start)
    return Material(tokenizer, data, _about(source.path, source.digest, source.names, split, refused, data))


def _fitted(resolved: config.Config, pieces: Sequence[Piece]) -> Tokenizer:
    options = dict(resolved["tokenizer"])
    factory = registry.resolve(TOKENIZERS, "tokenizer", options.pop("name"), own_code=True)
    tokenizer: Tokenizer = factory.fit(pieces, **options)
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
