"""Uniform tokens: the row *Random* of SeqGAN's Table 1, and what noise is worth to any figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch

from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import negative_log_likelihood
from seqgan_music.algorithms.record import Phase, Record
from seqgan_music.errors import UsageError
from seqgan_music.modes import evaluating


class Random:
    """A generator to which all tokens are equally likely, END among them; nothing is trained.

    All its weights are set to 0: where the last layer is affine, no token is then preferred to another.

    Parameters
    ----------
    parts : Parts
    """

    SCHEDULE: ClassVar = {"random": Phase()}
    discriminated: ClassVar = False
    steerable: ClassVar = False

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.completed = False

    def __iter__(self) -> Iterator[Record]:
        """Set the weights.

        Raises
        ------
        UsageError
            The generator prefers some tokens whatever its weights are.
        """
        if self.completed:
            return
        generator, dataset = self.parts.generator, self.parts.dataset
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.zero_()
        with evaluating(generator):
            logits = generator(*dataset.validation[:1])[0]
        drawable = torch.ones(dataset.vocab_size, dtype=torch.bool, device=logits.device)
        drawable[list(dataset.never)] = False
        if not (logits[:, drawable] == logits[:, drawable][:, :1]).all():
            raise UsageError(
                f"algorithm random sets all weights to 0, and {type(generator).__name__} still prefers some tokens to "
                "others; take a generator whose last layer is affine, such as lstm"
            )
        self.completed = True
        nll = negative_log_likelihood(generator, dataset.validation, dataset.pad_id)
        yield Record("random", 1, 1, {"nll_validation": nll}, True)

    def state_dict(self) -> dict[str, Any]:
        """Whether it is done."""
        return {"completed": self.completed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.completed = state["completed"]
