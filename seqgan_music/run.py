"""A finished or unfinished run, opened from its directory: generates pieces and is evaluated."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqgan_music import (
    building,
    checkpoint,
    melody,
    midi,
    registry,
    run_directory,
    run_settings,
    sampling,
    transposition,
)
from seqgan_music.algorithms.record import STAGES
from seqgan_music.corpus import Corpus, read_corpus
from seqgan_music.errors import Failure, PieceRefused, SeqganMusicWarning, UsageError
from seqgan_music.losses import DISCRIMINATOR_LOSSES, BinaryCrossEntropy
from seqgan_music.modes import evaluating
from seqgan_music.notes import Part, Piece
from seqgan_music.tokenizers import is_musical
from seqgan_music.tokenizers.pitch import TEMPO

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.html_report import Pages

SLOWEST, FASTEST = 4, 1000  # tempos in quarter notes a minute; MIDI has none below 3.58
MOST_BARS = 10_000  # an hour or more; beyond that it is a slip of the keyboard
CANDIDATES_AT_ONCE = 1024
REMEDIES = {
    "metre outside the vocabulary": "; train a run on tunes in that metre, or rebar the melody",
    "pitch outside the vocabulary": "; no octave helps, for the melody is wider than that",
}  # for a melody to continue, by the reason it is refused for


class Run:
    """A run directory.

    Parameters
    ----------
    directory : str or Path
        Where `seqgan_music.train` put it.
    own_code : bool
        Whether it may load code outside the package that it names, for components of one's own.

    Attributes
    ----------
    settings : Config
        Resolved settings.
    facts : dict
        Versions, corpus, split.
    tokenizer : Tokenizer
    dataset : Dataset
        Windows of the three parts, in main memory.
    pages : Pages or None
        Where `finish` wrote the report.

    Raises
    ------
    UsageError
        Not a run directory.
    Failure
        The run is damaged.
    """

    def __init__(self, directory: str | Path, *, own_code: bool = False) -> None:
        self.directory, self.own_code = Path(directory), own_code
        self.settings, self.tokenizer, self.dataset = run_directory.open_directory(self.directory, own_code=own_code)
        self.facts = run_directory.read_facts(self.directory)
        self.pages: Pages | None = None

    @property
    def is_music(self) -> bool:
        """Whether it writes pieces, or else plain sequences of tokens."""
        return is_musical(self.tokenizer)

    @property
    def stages(self) -> list[str]:
        """Stages whose weights there are, the one that is used if none is named last.

        "random" and "mle" are there once that phase has ended, "adversarial" (the newest weights) and "best" (those of
        the round whose samples were closest to real music on the validation part) from the first round on.
        """
        saved = self.directory / run_directory.CHECKPOINTS
        found = {stage for stage in STAGES if checkpoint.exists(saved / stage)}
        if self._unfinished_phase() == "adversarial":
            found.add("adversarial")
        return [stage for stage in STAGES if stage in found]

    def generator(self, stage: str | None = None, device: str = "auto") -> Any:
        """The generator after a stage; the last stage there is, if none is named.

        Raises
        ------
        UsageError
            No such stage in this run.
        """
        stage = self._stage(stage)
        weights = run_directory.stage_weights(self.directory, stage)["generator"]
        generator = building.build_generator(self.settings, self.dataset, own_code=self.own_code)
        return self._loaded(generator, weights, device)

    def discriminator(self, stage: str | None = None, device: str = "auto") -> Any:
        """The discriminator of a stage, which is to be one whose score is the logit of being real.

        Beside the stage "mle" it is the one that was pre-trained on that generator's samples.

        Raises
        ------
        UsageError
            No such stage, no discriminator in it, or one trained by a loss that makes its score something else.
        """
        stage = self._stage(stage)
        weights = run_directory.stage_weights(self.directory, stage).get("discriminator")
        if weights is None:
            why = "; nor has any run that was exported without --with-discriminator" if "exported" in self.facts else ""
            raise UsageError(f"{self.directory} has no trained discriminator at stage {stage!r}{why}")
        name = self.settings["loss"]["name"]
        loss = registry.resolve(DISCRIMINATOR_LOSSES, "loss", name, own_code=self.own_code)
        if not (isinstance(loss, type) and issubclass(loss, BinaryCrossEntropy)):
            raise UsageError(
                f"the discriminator of {self.directory} was trained by loss {name!r}, whose score is no logit of a "
                "probability, so it gives no odds; that of a run with loss 'bce' does"
            )
        discriminator = building.build_discriminator(self.settings, self.dataset, own_code=self.own_code)
        return self._loaded(discriminator, weights, device)

    def sample(
        self,
        n: int,
        *,
        stage: str | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        metre: tuple[int, int] | None = None,
        start: Tensor | None = None,
        bars: int | None = None,
        prefix: Sequence[int] | None = None,
        best_of: int = 1,
        device: str = "auto",
    ) -> tuple[Tensor, Tensor]:
        """Draw token ids (n, T) and their start tokens (n,), both in main memory.

        `start` (n,) are start tokens to take in place of random ones, `prefix` is START and the tokens every row begins
        with, without END; for the others see `generate`.
        """
        if n < 1:
            what = "pieces" if self.is_music else "sequences"
            raise UsageError(f"the number of {what} must be at least 1, not {n!r}")
        if not self.is_music and (metre is not None or bars is not None):
            raise UsageError(f"the sequences of {self.directory} are no music; leave out metre and bars")
        if best_of < 1:
            raise UsageError(f"best-of must be at least 1, not {best_of!r}")
        if best_of > 1 and (bars is not None or prefix is not None):
            raise UsageError(
                f"best-of needs melodies of the training length, {self.dataset.length} tokens, for the discriminator "
                "knows no others: leave out bars and prime, or best-of"
            )
        generator = self.generator(stage, device)
        discriminator = self.discriminator(stage, device) if best_of > 1 else None
        where = next(generator.parameters()).device
        rng = torch.Generator(where).manual_seed(seed)
        drawn = self.dataset.train.to(where).random(n, rng)[1]
        start = drawn if start is None else start.to(where)
        if metre is not None:
            start = torch.full_like(start, self._start_id(metre))
        given = None
        if prefix is not None:
            if metre is not None and prefix[0] != self._start_id(metre):
                raise UsageError("the melody to continue has another metre than {}/{}; leave metre out".format(*metre))
            start = torch.full_like(start, prefix[0])
            given = torch.tensor(prefix[1:], dtype=torch.int64, device=where).expand(n, -1)
        length = self.dataset.length + (0 if given is None else given.shape[1])
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "prefix": given}
        options |= {"end_id": self.dataset.end_id, "pad_id": self.dataset.pad_id}
        if bars is not None:
            return self._sample_bars(generator, start, bars, rng, options)
        start = start.repeat_interleave(best_of)  # candidates of one melody share its metre
        ids = sampling.sample(generator, start, length, rng, **options)
        if discriminator is not None:
            with evaluating(discriminator):
                logits = torch.cat([discriminator(rows) for rows in ids.split(CANDIDATES_AT_ONCE)])
            uniform = torch.rand(n, generator=rng, device=where)
            ids = sampling.resample(ids.view(n, best_of, -1), logits.view(n, best_of), uniform)
            start = start[::best_of]
        return ids.cpu(), start.cpu()

    def _sample_bars(
        self, generator: Any, start: Tensor, bars: float, rng: torch.Generator, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """As `sample`, END held back until the last row has its bars."""
        if not 0 < bars <= MOST_BARS:
            raise UsageError(f"the number of bars must lie in 1..{MOST_BARS}, not {bars!r}")
        lengths = [self.tokenizer.bar_tokens(int(token), bars) for token in start]
        if None in lengths:
            raise UsageError("bars cannot be counted with this tokenizer")
        longest = max(length for length in lengths if length is not None)
        if options["prefix"] is not None and options["prefix"].shape[1] >= longest:
            raise UsageError("the melody to continue fills so many bars already; ask for more bars, or leave them out")
        ids = sampling.sample(generator, start, longest, rng, end_from=longest, **options)
        for row, length in zip(ids, lengths, strict=True):
            row[length:] = self.dataset.pad_id
        return ids.cpu(), start.cpu()

    def sequences(self, n: int = 8, **options: Any) -> list[list[int]] | list[list[str]]:
        """Draw sequences of a run whose tokens are no music, as integers or as words, up to where each ends.

        Parameters
        ----------
        n : int
            Number of sequences.
        **options
            Those of `generate` that are not of music: stage, seed, temperature, top_k, top_p, best_of, device.

        Raises
        ------
        UsageError
            A run of music, or an option that cannot be meant.
        """
        if self.is_music:
            raise UsageError(f"{self.directory} writes music: generate makes pieces of it, and sample gives its tokens")
        tokenizer: Any = self.tokenizer
        return [tokenizer.tokens(row) for row in self.sample(n, **options)[0].tolist()]

    def generate(
        self,
        n: int = 8,
        *,
        prime: Piece | str | Path | None = None,
        tempo: float | None = None,
        program: int | str | None = None,
        **options: Any,
    ) -> list[Piece]:
        """Write new pieces.

        Parameters
        ----------
        n : int
            Number of pieces.
        prime : Piece, str or Path, optional
            A melody, or a MIDI file with one, that every piece begins with and goes on from, in its key. Its last note
            may be held on; silence after it is not part of it.
        tempo : float, optional
            Quarter notes in a minute; the prime's, or else 120, if left out.
        program : int or str, optional
            General MIDI instrument, 0 to 127 or a name such as ``"violin"``; the prime's, or else 0, if left out.
        stage : a name of `STAGES`, optional
            Whose weights; the last of `stages`, if left out.
        seed : int
            The same seed gives the same pieces.
        temperature, top_k, top_p
            See `seqgan_music.sampling.narrow`.
        metre : (int, int), optional
            Metre of all pieces; drawn like those of the corpus if left out.
        bars : int, optional
            Exact length, the prime's bars among them, whatever the model was trained on; if left out a piece ends by
            itself, at the latest after T tokens, or T more than the prime has.
        best_of : int
            Draw so many candidates of every piece, all in its metre, and keep one by the discriminator's odds; see
            `seqgan_music.sampling.resample`. The odds are those of samples at temperature 1 with nothing cut off.
        device : str
            auto, cpu, cuda or mps.

        Returns
        -------
        list of Piece
            Titled "sample 01", "sample 02", ...

        Raises
        ------
        UsageError
        """
        if not self.is_music:
            raise UsageError(f"the sequences of {self.directory} are no music; Run.sequences draws them as tokens")
        changes: dict[str, Any] = {}
        if tempo is not None:
            if not SLOWEST <= tempo <= FASTEST:
                raise UsageError(f"the tempo must lie in {SLOWEST}..{FASTEST} quarter notes a minute, not {tempo!r}")
            changes["tempo"] = tempo
        polyphonic = getattr(self.tokenizer, "polyphonic", False)
        if program is not None:
            if polyphonic:
                raise UsageError("this run's tokens say themselves which instruments play; leave program out")
            changes["parts"] = (Part(midi.program_number(program)),)
        shift, stretch = 0, 1.0
        if prime is not None:
            begin, options["prefix"], shift = self._prime(prime)
            if getattr(self.tokenizer, "in_seconds", False):
                stretch = TEMPO / begin.tempo  # so many more ticks in a quarter note leave a step its seconds
                if options.get("bars") is not None:
                    options["bars"] *= stretch
            changes = {"tempo": min(max(begin.tempo, SLOWEST), FASTEST), "key": begin.key, **changes}
            if not polyphonic:
                changes.setdefault("parts", begin.parts[:1])
        ids, start = self.sample(n, **options)
        digits = max(2, len(str(n)))
        pieces = []
        for number, (row, token) in enumerate(zip(ids.tolist(), start.tolist(), strict=True), 1):
            piece = self.tokenizer.decode([token, *row])
            title = f"sample {number:0{digits}}"
            try:
                piece = transposition.transposed(piece, -shift)
            except PieceRefused as refused:
                raise Failure(
                    f"{title} cannot be put in the key of the prime: {refused}; take another seed"
                ) from refused
            resolution = max(1, round(piece.resolution * stretch))
            pieces.append(dataclasses.replace(piece, title=title, resolution=resolution, **changes))
        return pieces

    def evaluate(
        self,
        *,
        samples: int = 1000,
        seed: int = 0,
        device: str = "auto",
        against: str | Path | None = None,
        read: Callable[..., Corpus] = read_corpus,
    ) -> Evaluation:
        """Measure every stage beside its anchors; see `seqgan_music.evaluation.evaluate_run`.

        `against` is read as the run's own corpus was; for a run of what is no music it is a token file.
        """
        from seqgan_music.evaluation import evaluate_run

        if self.is_music:
            read = functools.partial(read, **run_settings.reading_options(self.settings, own_code=self.own_code))
        return evaluate_run(self, samples=samples, seed=seed, device=device, against=against, read=read)

    def finish(self, *, evaluate: bool = True, samples: int = 8, pages: bool = True) -> Evaluation | None:
        """Leave with the run what its training ends with: samples of every stage as MIDI (of what is no music as text)
        and, if wanted, ``report.json`` and the pages ``report.html`` and ``listen.html``, which are of music alone.

        Pages that cannot be made are warned about; everything else is there then.
        """
        from seqgan_music import formats

        for stage in self.stages:
            folder = self.directory / "samples" / stage
            if self.is_music:
                formats.write_all(self.generate(samples, stage=stage), folder)
            else:
                formats.write_sequences(self.sequences(samples, stage=stage), folder)
        evaluation = None
        if evaluate:
            evaluation = self.evaluate()
            checkpoint.write_report(self.directory, evaluation)
        if pages and self.is_music:
            from seqgan_music import html_report

            try:
                self.pages = html_report.write(self)
            except Exception as error:  # whatever it is, a training does not fail by it
                again = f"try again with: seqgan-music report {shlex.quote(str(self.directory))}"
                warnings.warn(f"the report could not be made: {error}; {again}", SeqganMusicWarning, stacklevel=2)
        return evaluation

    def _stage(self, stage: str | None) -> str:
        """A stage there is; the last, if none is named."""
        stages = self.stages
        if not stages:
            raise UsageError(f"{self.directory} has no trained generator yet; go on with --resume {self.directory}")
        if stage is not None and stage not in stages:
            raise UsageError(f"{self.directory} has no stage {stage!r}; it has: {', '.join(stages)}")
        return stage or stages[-1]

    def _loaded(self, network: Any, weights: dict[str, Tensor], device: str) -> Any:
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise Failure(f"the weights of {self.directory} do not fit its {run_directory.CONFIG}: {error}") from error
        return network.to(building.choose_device(device)).eval()

    def _start_id(self, metre: tuple[int, int]) -> int:
        if metre not in self.tokenizer.start_ids:
            raise UsageError("this run knows no metre {}/{}; it knows: {}".format(*metre, self._metres()))
        return self.tokenizer.start_ids[metre]

    def _metres(self) -> str:
        return ", ".join(f"{a}/{b}" for a, b in self.tokenizer.start_ids)

    def _prime(self, prime: Piece | str | Path) -> tuple[Piece, list[int], int]:
        """A melody to continue: itself; START and its tokens, without END; and by how much they are transposed."""
        name = (prime.title or "the melody") if isinstance(prime, Piece) else str(prime)
        try:
            if not isinstance(prime, Piece):
                prime = self._read(prime)
            moved = transposition.apply(prime, self.settings["data"]["transpose"])
            (moved,), _ = transposition.into_range([moved], [name], self.tokenizer)
            ids = self.tokenizer.encode(moved)
        except PieceRefused as refused:
            raise UsageError(f"cannot continue {name}: {refused}{REMEDIES.get(refused.reason, '')}") from refused
        pitched = sum(not prime.parts[note.part].drums for note in prime.notes)
        shift = int(moved.notes.pitch.sum() - prime.notes.pitch.sum()) // max(1, pitched)
        return prime, ids[:-1] if ids[-1] == self.tokenizer.end_id else ids, shift

    def _read(self, path: str | Path) -> Piece:
        """A file as those of the run's corpus were read; one without the part that those have, as it comes."""
        options = run_settings.reading_options(self.settings, own_code=self.own_code)
        content = midi.content_of(path, options["reading"])
        try:
            return midi.interpret(content, **options)[0]
        except PieceRefused as refused:
            if refused.reason != melody.NO_SUCH_PART:
                raise
            return midi.interpret(content, every_part=options["every_part"])[0]

    def _unfinished_phase(self) -> str | None:
        last = self.directory / run_directory.CHECKPOINTS / "last"
        if not checkpoint.exists(last):
            return None
        phase: str = checkpoint.load(last)["phase"]
        return phase
