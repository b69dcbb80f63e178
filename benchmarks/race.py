"""Race the program against its textbook twin, in turn, in one process: ``python benchmarks/race.py --help``."""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import textbook
import torch
from torch import Tensor

from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import generate
from seqgan_music.algorithms.seqgan import SeqGAN
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import PAPER_FILTERS, CNNDiscriminator
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.modes import evaluating
from seqgan_music.rewards import Reward
from seqgan_music.rollout import rollout_uniforms
from seqgan_music.sampling import sample

COMPETITORS = ("textbook", "program")


@dataclass(frozen=True)
class Sizes:
    """What is raced.

    `discriminator_samples` real and as many generated sequences make the epoch of D that is timed;
    `schedule_samples` those of the round that is computed from it, with `d_epochs` epochs after one generator step.
    """

    vocabulary: int
    length: int
    batch: int = 64
    rollouts: int = 16
    generator: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    discriminator_samples: int = 640
    schedule_samples: int = 10_000
    d_epochs: int = 15


PAPER = {"embedding": 64, "filters": [list(pair) for pair in PAPER_FILTERS[20]]}
SMALL_LSTM = {"embedding": 32, "hidden": 32}
CONFIGURATIONS = {
    "P": Sizes(5000, 20, generator=SMALL_LSTM, discriminator=PAPER),
    "M": Sizes(48, 36, generator=SMALL_LSTM, discriminator=PAPER),
    "L": Sizes(130, 100, 32, 16, {"embedding": 64, "hidden": 256}, PAPER, 320),
    "default": Sizes(44, 64, schedule_samples=1024, discriminator_samples=1024),
    "tiny": Sizes(
        12, 8, 4, 4, {"embedding": 4, "hidden": 8}, {"embedding": 4, "filters": [[1, 4], [3, 4], [8, 2]]}, 16, 16, 3
    ),
}


class Race:
    """Both competitors on the same data, each with its own copy of the networks."""

    def __init__(self, sizes: Sizes, textbook_rollouts: int) -> None:
        self.sizes, self.textbook_rollouts = sizes, textbook_rollouts
        self.rng = torch.Generator().manual_seed(1)
        self.generator = LSTMGenerator(sizes.vocabulary, **sizes.generator)
        self.discriminator = CNNDiscriminator(sizes.vocabulary, sizes.length, **sizes.discriminator)
        self.generator.reset_parameters(self.rng)
        self.discriminator.reset_parameters(self.rng)
        shape = (sizes.discriminator_samples, sizes.length)
        self.real, self.fake = (torch.randint(sizes.vocabulary, shape, generator=self.rng) for _ in range(2))
        windows = Windows(self.real, torch.zeros(len(self.real), dtype=torch.int64), torch.arange(len(self.real)))
        dataset = Dataset(windows, windows, windows, sizes.vocabulary)
        # The program's networks are the algorithm's; the textbook has copies, with optimisers of their own.
        generator, discriminator = copy.deepcopy(self.generator), copy.deepcopy(self.discriminator)
        loss = BinaryCrossEntropy()
        parts = Parts(generator, discriminator, loss, Reward(discriminator, loss), dataset, self.rng)
        self.algorithm = SeqGAN(parts, batch_size=sizes.batch, rollouts=sizes.rollouts)
        self.start = torch.zeros(sizes.batch, dtype=torch.int64)
        self.policy_optimizer = torch.optim.Adam(self.generator.parameters(), 1e-4)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), 1e-4)

    def textbook_reward(self, ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
        return textbook.discriminator_scores(self.discriminator, ids).sigmoid()

    def generator_step(self) -> dict[str, float]:
        """A batch, its action values and one update: seconds of both."""
        sizes, algorithm = self.sizes, self.algorithm
        clock = Clock()
        with evaluating(self.generator, self.discriminator):
            ids = textbook.sample(self.generator, self.start, self.uniforms(sizes.batch))
            generating = clock.lap()
            uniforms = rollout_uniforms(sizes.batch, sizes.length, self.textbook_rollouts, self.rng, torch.float32)
            values = textbook.action_values(self.generator, self.textbook_reward, ids, self.start, uniforms)
        searching = clock.lap() * sizes.rollouts / self.textbook_rollouts
        textbook.update_policy(self.generator, self.policy_optimizer, ids, self.start, values)
        updating = clock.lap()
        ids, start = algorithm.policy.generate()
        algorithm.policy.update(ids, start, algorithm.policy.search(ids, start))
        return {"textbook": generating + searching + updating, "program": clock.lap()}

    def scoring(self) -> dict[str, float]:
        """D on all finished roll-outs of one batch, in the calls in which each competitor meets them."""
        calls = self.rollouts_of_program
        rows = torch.cat([ids for ids, _, _ in calls])
        rows = rows[: len(rows) * self.textbook_rollouts // self.sizes.rollouts]
        clock = Clock()
        with evaluating(self.discriminator):
            for batch in rows.split(self.sizes.batch):
                self.textbook_reward(batch, batch[:, 0], batch[:, 0])
        plain = clock.lap() * self.sizes.rollouts / self.textbook_rollouts
        reward = self.algorithm.parts.reward
        with evaluating(reward.discriminator):
            for call in calls:
                reward(*call)
        return {"textbook": plain, "program": clock.lap()}

    def epoch(self) -> dict[str, float]:
        """One epoch of D's training."""
        clock = Clock()
        textbook.train_discriminator_epoch(
            self.discriminator, self.discriminator_optimizer, self.real, self.fake, self.sizes.batch, self.rng
        )
        plain = clock.lap()
        self.algorithm.discriminator_training.train_epoch(self.real, self.fake)
        return {"textbook": plain, "program": clock.lap()}

    def sampling(self) -> dict[str, float]:
        """The generated half of D's training set: a batch at a time, and as the program draws it."""
        clock = Clock()
        with evaluating(self.generator):
            for first in range(0, len(self.real), self.sizes.batch):
                start = self.start[: len(self.real) - first]
                textbook.sample(self.generator, start, self.uniforms(len(start)))
        plain = clock.lap()
        generate(self.algorithm.parts, torch.zeros(len(self.real), dtype=torch.int64))
        return {"textbook": plain, "program": clock.lap()}

    def uniforms(self, batch: int) -> Tensor:
        return torch.rand(self.sizes.length, batch, generator=self.rng)

    @functools.cached_property
    def rollouts_of_program(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """What the reward is called with during one search."""
        policy, calls = self.algorithm.policy, []
        scores = policy.parts.reward

        class Listening:
            discriminator = scores.discriminator

            def __call__(self, *call: Tensor) -> Tensor:
                calls.append(call)
                return torch.zeros(len(call[0]))

        parts = policy.parts
        policy.parts = replace(parts, reward=Listening())
        try:
            policy.search(*policy.generate())
        finally:
            policy.parts = parts
        return calls

    def mean_difference(self) -> float:
        """Mean distance of the two searches' action values from the same uniform numbers and the same weights.

        In float32 a draw that falls on a boundary may go either way, so single values may differ.
        """
        sizes, algorithm = self.sizes, self.algorithm
        ids = sample(self.generator, self.start, sizes.length, self.rng)
        state = self.rng.get_state()
        uniforms = rollout_uniforms(sizes.batch, sizes.length, sizes.rollouts, self.rng, torch.float32)
        with evaluating(self.generator, self.discriminator):
            plain = textbook.action_values(self.generator, self.textbook_reward, ids, self.start, uniforms)
        self.rng.set_state(state)
        algorithm.policy.rollout_policy.load_state_dict(self.generator.state_dict())
        algorithm.parts.discriminator.load_state_dict(self.discriminator.state_dict())
        return (algorithm.policy.search(ids, self.start) - plain).abs().mean().item()


class Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        before, self.last = self.last, time.perf_counter()
        return self.last - before


PARTS: dict[str, Callable[[Race], dict[str, float]]] = {
    "generator step": Race.generator_step,
    "scoring of roll-outs": Race.scoring,
    "epoch of D": Race.epoch,
    "sampling": Race.sampling,
}


def race(sizes: Sizes, repeats: int, textbook_rollouts: int) -> dict[str, Any]:
    """Ratios of all parts, and of a whole round computed from them."""
    track = Race(sizes, textbook_rollouts)
    difference = track.mean_difference() if textbook_rollouts == sizes.rollouts else None  # and the warm-up
    parts: dict[str, Any] = {}
    for name, run in PARTS.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        if difference is None or name != "generator step":
            run(track)
        laps = [run(track) for _ in range(repeats)]
        seconds = {who: [lap[who] for lap in laps] for who in COMPETITORS}
        parts[name] = {"ratio": ratio(seconds), "seconds": seconds}
    epochs = sizes.d_epochs * sizes.schedule_samples / sizes.discriminator_samples
    rounds = {
        who: [
            step + epochs * epoch
            for step, epoch in zip(
                parts["generator step"]["seconds"][who], parts["epoch of D"]["seconds"][who], strict=True
            )
        ]
        for who in COMPETITORS
    }
    return {"parts": parts, "round": ratio(rounds), "mean_difference": difference}


def ratio(seconds: dict[str, list[float]]) -> dict[str, float]:
    ratios = [plain / fast for plain, fast in zip(seconds["textbook"], seconds["program"], strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def run_one(who: str, sizes: Sizes) -> dict[str, float]:
    """A generator step (with one roll-out for the textbook: more take no more memory) and an epoch of D, alone."""
    track = Race(sizes, 1)
    before = peak_memory()
    if who == "program":
        algorithm = track.algorithm
        ids, start = algorithm.policy.generate()
        algorithm.policy.update(ids, start, algorithm.policy.search(ids, start))
        algorithm.discriminator_training.train_epoch(track.real, track.fake)
    else:
        with evaluating(track.generator, track.discriminator):
            ids = textbook.sample(track.generator, track.start, track.uniforms(sizes.batch))
            uniforms = rollout_uniforms(sizes.batch, sizes.length, 1, track.rng, torch.float32)
            values = textbook.action_values(track.generator, track.textbook_reward, ids, track.start, uniforms)
        textbook.update_policy(track.generator, track.policy_optimizer, ids, track.start, values)
        textbook.train_discriminator_epoch(
            track.discriminator, track.discriminator_optimizer, track.real, track.fake, sizes.batch, track.rng
        )
    return {"before": before, "peak": peak_memory()}


def peak_memory() -> float:
    """Most memory this process has held, in MiB.

    On Linux a process starts with its parent's peak in `ru_maxrss`, so the kernel's mark of the process itself is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def memory(configuration: str, threads: int) -> dict[str, dict[str, float]]:
    """Peak of each competitor in a process of its own."""
    peaks = {}
    for who in COMPETITORS:
        command = [sys.executable, __file__, "--configuration", configuration, "--threads", str(threads), "--only", who]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode:
            raise RuntimeError(f"the {who} alone failed:\n{child.stderr}")
        peaks[who] = json.loads(child.stdout)
    return peaks


def machine() -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def describe(result: dict[str, Any]) -> str:
    """The result for a person: ratios only, for seconds mean nothing on another machine."""
    sizes, where = result["sizes"], result["machine"]
    lines = [
        f"configuration {result['configuration']}: V {sizes['vocabulary']}, T {sizes['length']}, B {sizes['batch']}, "
        f"N {sizes['rollouts']}, generator {sizes['generator'] or 'default'}, "
        f"discriminator {sizes['discriminator'] or 'default'}",
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads, torch {where['torch']}, "
        f"{result['date']}",
        "",
        f"{'textbook : program':32} {'median':>8}   range over {result['repeats']} repeats",
    ]
    rows = {
        "generator step": "",
        "scoring of roll-outs": f"{sizes['batch'] * (sizes['rollouts'] * (sizes['length'] - 1) + 1)} sequences",
        "epoch of D": f"{sizes['discriminator_samples']} + {sizes['discriminator_samples']} sequences",
        "sampling": f"{sizes['discriminator_samples']} sequences",
    }
    for name, note in rows.items():
        label = f"{name} ({note})" if note else name
        lines.append(ratio_line(label, result["parts"][name]["ratio"]))
    schedule = f"1 step, {sizes['d_epochs']} epochs of {sizes['schedule_samples']} + {sizes['schedule_samples']}"
    lines.append(ratio_line("whole round, computed", result["round"]) + f"   ({schedule})")
    if sizes["textbook_rollouts"] < sizes["rollouts"]:
        lines.append(
            f"The textbook ran {sizes['textbook_rollouts']} of {sizes['rollouts']} roll-outs; the times of its "
            f"search and scoring, linear in them, were scaled by {sizes['rollouts']}/{sizes['textbook_rollouts']}."
        )
    else:
        lines.append(f"mean |difference| of the action values: {result['mean_difference']:.1e}")
    for who, peak in (result["memory_mib"] or {}).items():
        lines.append(f"peak memory of the {who}: {peak['peak']:.0f} MiB, {peak['before']:.0f} of them before it began")
    return "\n".join(lines)


def ratio_line(label: str, ratio: dict[str, float]) -> str:
    return f"{label:44} {ratio['median']:6.2f}   {ratio['min']:.2f} - {ratio['max']:.2f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--configuration", choices=CONFIGURATIONS, default="default", help="sizes, see README.md")
    parser.add_argument("--repeats", type=int, default=3, help="times that each part is run by both (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch, for both")
    parser.add_argument("--textbook-rollouts", type=int, metavar="K", help="run the textbook with K of the N roll-outs")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to a file")
    parser.add_argument("--only", choices=COMPETITORS, help=argparse.SUPPRESS)  # the child that measures memory
    options = parser.parse_args(argv)
    sizes = CONFIGURATIONS[options.configuration]
    textbook_rollouts = options.textbook_rollouts or sizes.rollouts
    if not 1 <= textbook_rollouts <= sizes.rollouts:
        parser.error(f"--textbook-rollouts must lie in 1..{sizes.rollouts}")
    if min(options.repeats, options.threads) < 1:
        parser.error("--repeats and --threads must be at least 1")
    threads_before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        if options.only:
            print(json.dumps(run_one(options.only, sizes)))
            return 0
        result = {
            "configuration": options.configuration,
            "sizes": asdict(sizes) | {"textbook_rollouts": textbook_rollouts},
            "memory_mib": None if options.no_memory else memory(options.configuration, options.threads),
            **race(sizes, options.repeats, textbook_rollouts),
            "repeats": options.repeats,
            "machine": machine(),
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
    finally:
        torch.set_num_threads(threads_before)
    print(describe(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
