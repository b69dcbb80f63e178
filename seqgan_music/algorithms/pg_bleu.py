"""PG-BLEU: the row of that name in SeqGAN's Table 1 (Yu et al. 2017, arXiv 1609.05473, section 4)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.naive_rl import NaiveRL
from seqgan_music.rewards import BleuReward


class PgBleu(NaiveRL):
    """Likelihood, then policy gradient towards the BLEU of finished sequences against the training part.

    Parameters
    ----------
    parts : Parts
    bleu_n : int
        Longest n-gram, in tokens.
    **options
        Those of `seqgan_music.algorithms.policy.PolicyAlgorithm`.
    """

    steerable: ClassVar = False

    def __init__(self, parts: Parts, *, bleu_n: int = 4, **options: Any) -> None:
        reward = BleuReward(parts.dataset, bleu_n, parts.reward)
        super().__init__(dataclasses.replace(parts, reward=reward), **options)
