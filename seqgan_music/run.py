"""A finished or unfinished run, opened from its directory: generates pieces and is evaluated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqgan_music import checkpoint, experiment, sampling
from seqgan_music.errors import Failure, UsageError

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.notes import Piece

STAGES = ("mle", "adversarial", "best")


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

    Raises
    ------
    UsageError
        Not a run directory.
    Failure
        The run is damaged.
    """

    def __init__(self, directory: str | Path, *, own_code: bool = False) -> None:
        self.directory, self.own_code = Path(directory), own_code
        self.settings, self.tokenizer, self.dataset = experiment.open_directory(self.directory, own_code=own_code)
        self.facts = experiment.read_facts(self.directory)

    @property
    def stages(self) -> list[str]:
        """Stages whose weights there are, the one that is used if none is named last.

        "mle" is there once pre-training has ended, "adversarial" (the newest weights) and "best" (those of the round
        whose samples were closest to real music on the validation part) from the first round on.
        """
        saved = self.directory / experiment.CHECKPOINTS
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
        stages = self.stages
        if not stages:
            raise UsageError(f"{self.directory} has no trained generator yet; go on with --resume {self.directory}")
        stage = stage or stages[-1]
        if stage not in stages:
            raise UsageError(f"{self.directory} has no stage {stage!r}; it has: {', '.join(stages)}")
        saved = self.directory / experiment.CHECKPOINTS
        if checkpoint.exists(saved / stage):
            weights = checkpoint.load(saved / stage)["generator"]
        else:
            weights = checkpoint.load(saved / "last")["parts"]["generator"]
        generator = experiment.build_generator(self.settings, self.dataset, own_code=self.own_code)
        try:
            generator.load_state_dict(weights)
        except RuntimeError as error:
            raise Failure(f"the weights of {self.directory} do not fit its {experiment.CONFIG}: {error}") from error
        return generator.to(experiment.choose_device(device)).eval()

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
        bars: int | None = None,
        device: str = "auto",
    ) -> tuple[Tensor, Tensor]:
        """Draw token ids (n, T) and their start tokens (n,), both in main memory; see `generate`."""
        if n < 1:
            raise UsageError(f"the number of pieces must be at least 1, not {n!r}")
        generator = self.generator(stage, device)
        where = next(generator.parameters()).device
        rng = torch.Generator(where).manual_seed(seed)
        _, start = self.dataset.train.to(where).random(n, rng)
        if metre is not None:
            if metre not in self.tokenizer.start_ids:
                known = ", ".join(f"{a}/{b}" for a, b in self.tokenizer.start_ids)
                raise UsageError(f"this run knows no metre {metre[0]}/{metre[1]}; it knows: {known}")
            start = torch.full_like(start, self.tokenizer.start_ids[metre])
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        options |= {"end_id": self.dataset.end_id, "pad_id": self.dataset.pad_id}
        if bars is None:
            ids = sampling.sample(generator, start, self.dataset.length, rng, **options)
            return ids.cpu(), start.cpu()
        if bars < 1:
            raise UsageError(f"the number of bars must be at least 1, not {bars!r}")
        lengths = [self.tokenizer.bar_tokens(int(token), bars) for token in start]
        if None in lengths:
            raise UsageError("bars cannot be counted with this tokenizer")
        longest = max(length for length in lengths if length is not None)
        ids = sampling.sample(generator, start, longest, rng, end_from=longest, **options)
        for row, length in zip(ids, lengths, strict=True):
            row[length:] = self.dataset.pad_id
        return ids.cpu(), start.cpu()

    def generate(self, n: int = 8, **options: Any) -> list[Piece]:
        """Write new pieces.

        Parameters
        ----------
        n : int
            Number of pieces.
        stage : "mle", "adversarial" or "best", optional
            Whose weights; the last of `stages`, if left out.
        seed : int
            The same seed gives the same pieces.
        temperature, top_k, top_p
            See `seqgan_music.sampling.narrow`.
        metre : (int, int), optional
            Metre of all pieces; drawn like those of the corpus if left out.
        bars : int, optional
            Exact length, whatever the model was trained on; if left out a piece ends by itself, at the latest after T
            tokens.
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
        ids, start = self.sample(n, **options)
        digits = max(2, len(str(n)))
        pieces = []
        for number, (row, token) in enumerate(zip(ids.tolist(), start.tolist(), strict=True), 1):
            pieces.append(dataclasses.replace(self.tokenizer.decode([token, *row]), title=f"sample {number:0{digits}}"))
        return pieces

    def evaluate(
        self, *, samples: int = 1000, seed: int = 0, device: str = "auto", against: str | Path | None = None
    ) -> Evaluation:
        """Measure every stage beside its anchors; see `seqgan_music.evaluation`."""
        from seqgan_music.evaluation import evaluate_run

        return evaluate_run(self, samples=samples, seed=seed, device=device, against=against)

    def finish(self, *, evaluate: bool = True, samples: int = 8) -> Evaluation | None:
        """Leave with the run what its training ends with: samples of every stage as MIDI and, if wanted,
        ``report.json``."""
        from seqgan_music import midi

        for stage in self.stages:
            midi.write_all(self.generate(samples, stage=stage), self.directory / "samples" / stage)
        if not evaluate:
            return None
        evaluation = self.evaluate()
        checkpoint.write_report(self.directory, evaluation)
        return evaluation

    def _unfinished_phase(self) -> str | None:
        last = self.directory / experiment.CHECKPOINTS / "last"
        if not checkpoint.exists(last):
            return None
        phase: str = checkpoint.load(last)["phase"]
        return phase
