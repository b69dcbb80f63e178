"""The two pages of a run, made of templates."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music import registry, run_directory
from seqgan_music.errors import UsageError
from seqgan_music.evaluation.objectives import steered
from seqgan_music.files import write_whole
from seqgan_music.html_report import contents, curves, excerpts
from seqgan_music.losses import DISCRIMINATOR_LOSSES
from seqgan_music.sound import Synthesizer

if TYPE_CHECKING:
    from seqgan_music.html_report.excerpts import Excerpt
    from seqgan_music.run import Run

REPORT, LISTEN = "report.html", "listen.html"
FORMAT = "seqgan-music listening test 1"
TITLES = {
    "real": "Real tunes",
    "random": "Uniform tokens",
    "mle": "After pre-training",
    "adversarial": "After the adversarial rounds",
    "best": "Best adversarial round",
}
SENTENCES = {
    "real": "Windows of test tunes, which the model has not seen, as the tokenizer reads them back.",
    "random": "By the generator to which all tokens are equally likely.",
    "mle": "By the generator that was trained by likelihood alone.",
    "adversarial": "By the generator as the last round left it.",
    "best": "By the generator of the round whose samples were closest to real music on the validation tunes.",
}


@dataclass(frozen=True, slots=True)
class Pages:
    """What was written.

    Parameters
    ----------
    report : Path
    listening : Path or None
        None where there is nothing to compare, or nobody asked.
    sound : str
        By what means the melodies sound.
    """

    report: Path
    listening: Path | None
    sound: str


def write(
    run: Run,
    *,
    samples: int = 4,
    listening: int = 6,
    seed: int = 0,
    device: str = "auto",
    soundfont: str | Path | None = None,
) -> Pages:
    """Write ``report.html`` and ``listen.html`` into a run's directory.

    The same run, options and means of making sound give the same bytes.

    Parameters
    ----------
    run : Run
    samples, listening : int
        Melodies of each source in the report and in the listening test, fewer where there are fewer real windows. No
        melody is in both. With 0 of `listening` there is no test.
    seed : int
        Of the melodies, and of their order in the test.
    device : str
        Where the generator samples.
    soundfont : str or Path, optional
        See `seqgan_music.sound.Synthesizer`.

    Raises
    ------
    UsageError
        A run of what is no music, an exported run, or an option that cannot be meant.
    Failure
        A page cannot be written, or a file of the run is damaged.
    """
    if not run.is_music:
        raise UsageError(
            f"{run.directory} has sequences that are no music, and a report shows and plays melodies; see its numbers "
            f"with: seqgan-music evaluate {run.directory}"
        )
    if "exported" in run.facts:
        raise UsageError(
            f"{run.directory} is an exported run, without the log, the measurements and the tunes that a report shows: "
            f"report on the run it was made from, or hear it with: seqgan-music generate {run.directory} --format wav"
        )
    if samples < 1 or listening < 0:
        raise UsageError("a report needs 1 melody of each source or more, and a listening test 0 or more")
    lines = run_directory.read_log(run.directory)
    loss = registry.resolve(DISCRIMINATOR_LOSSES, "loss", run.settings["loss"]["name"], own_code=run.own_code)
    table, temperatures = contents.measurements(run), contents.temperatures(run)
    synthesizer = Synthesizer(soundfont)
    rng = np.random.default_rng(seed)
    stages = list(dict.fromkeys([*run.stages[:1], *run.stages[-1:]]))  # the likelihood's, and what `generate` takes
    shown: list[Excerpt] = []
    heard: list[Excerpt] = []
    if stages:
        tunes = excerpts.real(run, samples + listening, rng)
        samples = max(1, min(samples, len(tunes) // 2))
        listening = min(listening, len(tunes) - samples)
        first, second = tunes[:samples], tunes[samples : samples + listening]
        for stage in stages:
            first += excerpts.generated(run, stage, samples, seed, device)
            if listening:  # with a seed of its own, or melodies of two stages would be like each other
                second += excerpts.generated(run, stage, listening, int(rng.integers(2**31)), device)
        shown = excerpts.play(first, synthesizer)
        heard = excerpts.play([second[i] for i in rng.permutation(len(second))], synthesizer)
    report, test = run.directory / REPORT, run.directory / LISTEN
    sources = [excerpts.REAL, *stages]
    if heard:
        _write(test, "listen", "player.js", "listen.js", **_test(run, heard, sources))
    low, high = excerpts.compass([one.piece for one in shown])
    rolled = [(one, excerpts.roll(one.piece, low, high)) for one in shown]
    _write(
        report,
        "report",
        "player.js",
        name=run.directory.resolve().name,
        where=shlex.quote(str(run.directory)),
        summary=contents.summary(run, lines),
        groups=[
            (TITLES[name], SENTENCES[name], [pair for pair in rolled if pair[0].source == name]) for name in sources
        ],
        sound=str(synthesizer).replace(str(synthesizer.soundfont), synthesizer.soundfont.name),
        listening=LISTEN if heard else None,
        figures=curves.learning(
            lines,
            loss.guessing,
            run.facts.get("objectives", {}),
            best=not steered(run.settings),
            rollouts=bool(run.settings["algorithm"].get("rollouts", 0)),
            real=run.facts.get("real"),
        ),
        log=_address("application/jsonl", (run.directory / run_directory.LOG).read_bytes()),
        table=table,
        temperatures=temperatures,
        command=contents.command(run),
        own_code=contents.own_code(run),
        config=_address("application/toml", (run.directory / run_directory.CONFIG).read_bytes()),
        config_text=(run.directory / run_directory.CONFIG).read_text(encoding="utf-8"),
        facts=run.facts,
        corpus=contents.corpus_name(run),
    )
    return Pages(report, test if heard else None, str(synthesizer))


def _test(run: Run, heard: Sequence[Excerpt], sources: Sequence[str]) -> dict[str, Any]:
    """What the listening test shows, and what it keeps to itself until the votes are in."""
    key = [{"source": one.source, "title": one.piece.title} for one in heard]
    content = hashlib.sha256(json.dumps(key).encode() + b"".join(one.sound for one in heard)).hexdigest()
    told: dict[str, Any] = {
        "format": FORMAT,
        "run": run.directory.resolve().name,
        "page": content[:16],
        "sources": list(sources),
    }
    # Not a secret from who takes the page apart, but nothing that a reader's eye can catch.
    told["key"] = base64.b64encode(json.dumps(key).encode()).decode()
    told["titles"] = {name: TITLES[name] for name in sources}
    rolled = [(one, excerpts.roll(one.piece, *excerpts.compass([one.piece]))) for one in heard]
    return {"name": run.directory.resolve().name, "pieces": rolled, "test": told}


def _write(path: Path, template: str, *scripts: str, **values: Any) -> None:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    folder = resources.files(__package__).joinpath("templates")
    style = folder.joinpath("style.css").read_text(encoding="utf-8")
    script = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in scripts)
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(f"{template}.html").render(
        style=Markup(style),
        script=Markup(script),
        # Whatever a title may hold, nothing runs but this script, and nothing is fetched.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )
    write_whole(path, page.encode())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
