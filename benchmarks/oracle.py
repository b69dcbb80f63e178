"""Race the likelihood training and the sampling of the oracle experiment against the plain loops, in turn, in one
process: ``python benchmarks/oracle.py --help``."""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import measuring
import textbook
import torch
from torch import Tensor

from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import generate, likelihood_epoch
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.modes import evaluating
from seqgan_music.optimizers import Adam
from seqgan_music.rewards import Reward

LEARNING_RATE, CLIP = 1e-2, 5.0
PROGRAM = "program"


@dataclass(frozen=True)
class Sizes:
    """What is raced; the defaults are the paper's."""

    sequences: int = 10_000
    length: int = 20
    vocabulary: int = 5000
    width: int = 32
    batch: int = 64


class Race:
    """All competitors on the same data, the textbook with its own copy of the network."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        rng = torch.Generator().manual_seed(1)
        shape = (sizes.sequences, sizes.length)
        self.ids = torch.randint(sizes.vocabulary, shape, generator=rng)
        self.start = torch.zeros(sizes.sequences, dtype=torch.int64)
        windows = Windows(self.ids, self.start, torch.arange(sizes.sequences))
        self.generator = LSTMGenerator(sizes.vocabulary, embedding=sizes.width, hidden=sizes.width)
        self.generator.reset_parameters(rng)
        self.plain = copy.deepcopy(self.generator)
        discriminator, loss = CNNDiscriminator(2, sizes.length, embedding=1, filters=[[1, 1]]), BinaryCrossEntropy()
        reward = Reward(discriminator, loss)  # of which nothing is asked here
        dataset = Dataset(windows, windows, windows, sizes.vocabulary)
        self.parts = Parts(self.generator, discriminator, loss, reward, dataset, torch.Generator().manual_seed(2))
        self.rng = torch.Generator().manual_seed(2)  # so that both see their batches in the same order
        self.optimizer = Adam(self.generator.parameters(), LEARNING_RATE)
        self.plain_optimizer = torch.optim.Adam(self.plain.parameters(), LEARNING_RATE)

    def likelihood(self) -> dict[str, Callable[[], Any]]:
        """An epoch of likelihood training, which returns its mean loss."""
        return {
            "textbook": lambda: textbook.train_likelihood_epoch(
                self.plain, self.plain_optimizer, self.ids, self.start, self.sizes.batch, self.rng, clip=CLIP
            ),
            PROGRAM: lambda: likelihood_epoch(self.parts, self.optimizer, self.sizes.batch, CLIP),
        }

    def sampling(self) -> dict[str, Callable[[], Any]]:
        """As many sequences as there are to learn from: a batch at a time, and as the program draws them."""
        return {
            "textbook, cumulative sum": lambda: self.batches(
                lambda start: textbook.sample(
                    self.plain, start, torch.rand(self.sizes.length, len(start), generator=self.rng)
                )
            ),
            "textbook, multinomial": lambda: self.batches(
                lambda start: textbook.sample_by_multinomial(self.plain, start, self.sizes.length, self.rng)
            ),
            PROGRAM: lambda: generate(self.parts, self.start),
        }

    def batches(self, draw: Callable[[Tensor], Tensor]) -> Tensor:
        with evaluating(self.plain):
            return torch.cat([draw(start) for start in self.start.split(self.sizes.batch)])


def race(sizes: Sizes, repeats: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Seconds of every competitor in every repeat, and how many times the program's each takes."""
    track = Race(sizes)
    # The warm-up is the first epoch, from equal weights and in the same order.
    first = {who: run() for who, run in track.likelihood().items()}
    parts = {}
    for name, competitors in {"likelihood epoch": track.likelihood(), "sampling": track.sampling()}.items():
        seconds: dict[str, list[float]] = {who: [] for who in competitors}
        for repeat in range(repeats):
            print(f"{name}, {repeat + 1} of {repeats} ...", file=sys.stderr, flush=True)
            for who, run in competitors.items():
                before = clock()
                run()
                seconds[who].append(clock() - before)
        parts[name] = {
            who: {"seconds": laps, "ratio": [plain / fast for plain, fast in zip(laps, seconds[PROGRAM], strict=True)]}
            for who, laps in seconds.items()
        }
    return {"parts": parts, "loss_difference": abs(first["textbook"] - first[PROGRAM])}


def describe(result: dict[str, Any]) -> str:
    """The result as a table."""
    sizes = result["sizes"]
    lines = [
        "{sequences} sequences of {length} tokens of {vocabulary}, embedding = hidden = {width}, batches of {batch}"
        "".format(**sizes),
        f"{measuring.in_words(result['conditions'])}, seconds of the {result['clock']}",
        "",
        f"{'median of ' + str(result['repeats']):44} {'seconds':>8}   {': program':>9}   range",
    ]
    for name, competitors in result["parts"].items():
        for who, laps in competitors.items():
            ratio = laps["ratio"]
            line = f"{name + ', ' + who:44} {statistics.median(laps['seconds']):8.2f}"
            if who != PROGRAM:
                line += f"   {statistics.median(ratio):9.2f}   {min(ratio):.2f} - {max(ratio):.2f}"
            lines.append(line)
    lines.append(f"|difference| of the first epoch's mean losses: {result['loss_difference']:.1e} nats")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Race likelihood training and sampling, at the sizes of the oracle experiment, against plain loops."
    )
    for name, size in asdict(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=size, help=f"default {size}")
    parser.add_argument("--repeats", type=int, default=3, help="times that each is run by all (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch, for all")
    parser.add_argument(
        "--processor",
        action="store_true",
        help="seconds of the processor, not of the clock: beside other programs, with one thread",
    )
    parser.add_argument("--json", type=measuring.json_file, metavar="FILE", help="write everything to a file")
    options = parser.parse_args(argv)
    sizes = Sizes(**{name: getattr(options, name) for name in asdict(Sizes())})
    if min(*asdict(sizes).values(), options.repeats, options.threads) < 1:
        parser.error("every number must be at least 1")
    if options.processor and options.threads > 1:
        parser.error("--processor counts threads that wait for each other too; give --threads 1")
    clock = time.process_time if options.processor else time.perf_counter
    with measuring.settings(options.threads):
        result = {
            "sizes": asdict(sizes),
            **race(sizes, options.repeats, clock),
            "clock": "processor" if options.processor else "clock",
            "repeats": options.repeats,
            "conditions": measuring.conditions(),
        }
    print(describe(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
