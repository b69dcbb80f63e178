"""The music experiment of SeqGAN (Yu et al., AAAI 2017, arXiv 1609.05473, Table 4): likelihood against SeqGAN.

One pitch every 0.4 seconds, 32 of them in a sequence. The paper leaves open so much (`CHOICES`) that nobody can claim
to have its figures again; so each of ours stands beside held-out real music, Markov chains and noise in place of them.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_music import comparison, config, files, reproduction
from seqgan_music.comparison import output
from seqgan_music.dataset import PARTS
from seqgan_music.metrics.bleu import EPSILON

if TYPE_CHECKING:
    from collections.abc import Callable

    from seqgan_music.cache import Cache
    from seqgan_music.comparison import Comparison
    from seqgan_music.corpus import Corpus
    from seqgan_music.group import Adjust, Group
    from seqgan_music.run import Run

PRESET, QUICK = "music", "music-quick"
SEEDS = 5
METRICS = ("bleu_4", "mse_nearest", "mse_pairs", "self_bleu_4", "unique", "nll")
"""What the paper has, and three figures that show where it is bought by samples that are all alike."""
LABELS = {"mle": "MLE", "adversarial": "SeqGAN", "best": "SeqGAN, best round"}
PUBLISHED = {"MLE": {"BLEU-4": 0.9210, "MSE": 22.38}, "SeqGAN": {"BLEU-4": 0.9406, "MSE": 20.62}}
PUBLISHED_P = {"BLEU-4": "< 1e-6", "MSE": "0.00034"}
CHOICES = {
    "tunes": "The paper has 695 tunes of Nottingham. Here it is the folder that is named.",
    "split": "By tune, 80 % training, 10 % validation, 10 % test; copies of a tune are left out before.",
    "stride": "Training windows begin at every bar line. References are windows of the test tunes without overlap, "
    "each once; the row *real* is the same of the validation tunes.",
    "step": "0.4 seconds at a tune's own tempo (0.8 of a quarter note at tempo 120). A step has the pitch that sounds "
    "as it begins.",
    "rests": "The last pitch goes on, for 88 numbers have no room for a rest; before the first note it is the first "
    "pitch. A note struck again on the same pitch is one held note, for the same reason.",
    "chords and parts": "Of several parts one is the melody, as `seqgan-music inspect --verbose` says; of a part with "
    "chords it is the highest note of each onset (skyline).",
    "start and end": "A sequence's first input is a token for its metre, which is no part of it. A tune may end: END "
    "and what pads it are tokens beside the 88.",
    "sizes and schedule": "Those of the authors' program, which has the oracle experiment alone, at length 32 with the "
    "filters that the paper has for it.",
    "which weights": "MLE has the epoch with the best likelihood on the validation tunes, SeqGAN those after the last "
    "round. *Best round* is ours: the round closest to real music on the validation tunes.",
    "samples": "1,000 of every model and seed, and of every made-up row, at temperature 1.",
    "BLEU": "Words are note events (a pitch and for how many steps it sounds). Mean sentence BLEU of each sample "
    f"against all references, method 1 smoothing with epsilon {EPSILON}.",
    "MSE": "In semitones², step by step. *Nearest*: of each sample and the reference window nearest to it. *Pairs*: of "
    "each sample and all reference windows. For both the target is the row *real* and not 0: a constant pitch in the "
    "middle has the lowest of all.",
    "test": "Over seeds, and over samples as in the paper, each beside the other and corrected for being many.",
}
"""What the paper does not say, and what we do."""


def begin(
    source: Corpus,
    directory: Path,
    *,
    seeds: int = SEEDS,
    quick: bool = False,
    adjust: Adjust | None = None,
    cache: Cache | None = None,
) -> Group:
    """The runs of the experiment, made anew or as far as they are: `seqgan_music.group.Group.train` trains them.

    Parameters
    ----------
    source : Corpus
    directory : Path
        New, empty, or where the same experiment was begun.
    seeds : int
        Runs, with the seeds from 1.
    quick : bool
        A schedule of minutes, which proves nothing.
    adjust, cache
        See `seqgan_music.group.Group.create`.

    Raises
    ------
    UsageError
        The corpus cannot be used, or the directory holds something else.
    Failure
        The directory cannot be written, or what is there is damaged.
    """
    return reproduction.open_group(source, settings(quick), directory, range(1, seeds + 1), adjust=adjust, cache=cache)


def settings(quick: bool = False) -> config.Config:
    """Settings of the experiment."""
    return config.preset(QUICK if quick else PRESET)


def measure(group: Group, *, device: str = "auto", on_measuring: Callable[[Run], None] | None = None) -> Comparison:
    """Every finished run on its test tunes, MLE against SeqGAN, with rows called as in the paper.

    Parameters
    ----------
    group : Group
    device, on_measuring
        See `seqgan_music.comparison.compare`.

    Raises
    ------
    UsageError
        No run is finished.
    """
    found = comparison.compare([group.directory], metrics=METRICS, device=device, on_measuring=on_measuring)
    return dataclasses.replace(
        found,
        rows={LABELS[name]: row for name, row in found.rows.items()},
        tests=[dataclasses.replace(test, row=LABELS[test.row], baseline=LABELS[test.baseline]) for test in found.tests],
    )


def write(found: Comparison, directory: str | Path) -> list[Path]:
    """Write ``table.md``, ``table.csv`` (every point of every metric) and ``table.json``.

    Raises
    ------
    Failure
        A file cannot be written.
    """
    contents = {
        "md": markdown(found),
        "csv": output.to_csv(found),
        "json": json.dumps(to_dict(found), indent=1, ensure_ascii=False),
    }
    files.make_folder(directory)
    for ending, text in contents.items():
        files.write_whole(Path(directory) / f"table.{ending}", text.encode())
    return [Path(directory) / f"table.{ending}" for ending in contents]


def markdown(found: Comparison) -> str:
    """Our table with its tests; then, in a table of their own, the published figures and what the paper leaves open."""
    head = [
        "# The music experiment of SeqGAN (Yu et al. 2017, Table 4)",
        _about(found),
        "BLEU and MSE can be had by samples that are all alike; Self-BLEU-4 and *unique* show it. *MLE* is the "
        "generator after pre-training, *SeqGAN* after the last round of the same run; *best round* is ours, not the "
        "paper's: of all rounds the closest to real music on the validation tunes.",
    ]
    figures = [[model, f"{of['BLEU-4']:.4f}", f"{of['MSE']:.2f}"] for model, of in PUBLISHED.items()]
    return output.markdown(found, head) + "\n".join([
        "",
        "## What was published: other data, another split, not comparable",
        "",
        output.table(["", *PUBLISHED["MLE"]], [*figures, ["p of a T-test", *PUBLISHED_P.values()]]),
        "",
        "There are no anchors beside them, so they cannot be read as near to real music or far from it.",
        "",
        "## What the paper does not say, and what is done here",
        "",
        *(f"- **{what}.** {ours}" for what, ours in CHOICES.items()),
        "",
    ])  # fmt: skip


def to_dict(found: Comparison) -> dict[str, Any]:
    """Everything, for JSON."""
    published = {"comparable": False, "why": "other data and split", "rows": PUBLISHED, "p": PUBLISHED_P}
    return output.to_dict(found) | {
        "experiment": "music",
        "about": _about(found),
        "published": published,
        "choices": CHOICES,
    }


def size(of: config.Config) -> str:
    """How settings stand to those of the whole experiment."""
    departures = reproduction.departures(of, settings())
    return f"a short schedule, which proves nothing: {departures}" if departures else "the paper's sizes and schedule"


def _about(found: Comparison) -> str:
    """Which tunes, how many samples against how many references, and by which schedule."""
    runs = found.configurations[0].runs
    first = next(iter(runs.values()))
    corpus, samples = first.facts["corpus"], found.facts["samples"]
    train, validation, test = (len(corpus["split"][part]) for part in PARTS)
    return (
        f"{corpus['pieces']} tunes of {Path(corpus['root']).name}/ ({train} training, {validation} validation, {test} "
        f"test), {len(runs)} seed{'s' if len(runs) > 1 else ''}; {samples['mle']} samples of each model and seed "
        f"against {found.facts['references']} windows of the test tunes; real: {samples['real']} windows of the "
        f"validation tunes. Settings: {size(first.settings)}."
    )
