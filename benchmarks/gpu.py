"""What a GPU makes of the program: seconds, TFLOP/s, memory, graphs: ``python benchmarks/gpu.py --help``."""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import Any

import measuring
import torch
from competitors import CONFIGURATIONS, Sizes

from seqgan_music import graphs, precision
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import generate, likelihood_epoch
from seqgan_music.algorithms.seqgan import SeqGAN
from seqgan_music.building import choose_device
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.errors import UsageError
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.graphs import REHEARSALS, Graphs
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.modes import set_rng
from seqgan_music.rewards import Reward

PUBLISHED = {"likelihood epochs": 120, "sets of D": 50, "epochs of a set": 3, "rounds": 200, "sets of a round": 5}
"""The schedule of Yu et al. 2017; a set is `SET` real and as many generated sequences."""
SET = 10_000
TARGETS = {
    "P": {"generator step": 0.030, "update of D": 0.0005, "published schedule": 600.0},
    "L": {"generator step": 0.200},
}
"""Seconds that are aimed at, on an H200."""


@dataclass(frozen=True)
class Setting:
    """One way to compute."""

    device: torch.device
    precision: str
    recorded: bool


class Track:
    """The program's parts on a device, ready to be clocked."""

    def __init__(self, sizes: Sizes, setting: Setting) -> None:
        self.sizes, self.setting, device = sizes, setting, setting.device
        weights_rng = torch.Generator().manual_seed(1)
        generator = LSTMGenerator(sizes.vocabulary, **sizes.generator)
        discriminator = CNNDiscriminator(sizes.vocabulary, sizes.length, **sizes.discriminator)
        rng = torch.Generator(device).manual_seed(1)
        for network in (generator, discriminator):
            network.reset_parameters(weights_rng)
            network.to(device)
            precision.apply(setting.precision, network)
            set_rng(network, rng)
        ids = torch.randint(sizes.vocabulary, (sizes.sequences, sizes.length), generator=weights_rng)
        windows = Windows(ids, torch.zeros(len(ids), dtype=torch.int64), torch.arange(len(ids)))
        data = Dataset(windows, windows, windows, sizes.vocabulary).to(device)
        loss = BinaryCrossEntropy()
        recorder = graphs.for_generator(rng) if setting.recorded else Graphs()
        self.parts = Parts(generator, discriminator, loss, Reward(discriminator, loss), data, rng, recorder)
        self.algorithm = SeqGAN(self.parts, **sizes.algorithm)
        self.batch = self.algorithm.pretraining.batch_size
        self.fake = generate(self.parts, data.train.start)

    def run(self, part: str) -> int:
        """Compute a part, and say how many times what it is named after."""
        algorithm, data = self.algorithm, self.parts.dataset
        if part == "sampling":
            generate(self.parts, data.train.start)
        elif part == "search":
            algorithm.policy.search(*self._of_policy)
        elif part == "generator step":
            ids, start = algorithm.policy.generate()
            algorithm.policy.update(ids, start, algorithm.policy.search(ids, start))
        elif part == "update of D":
            algorithm.discriminator_training.train_epoch(data.train.ids, self.fake)
            return -(-self.sizes.sequences // self.batch)
        else:
            likelihood_epoch(self.parts, algorithm.pretraining.optimizer, self.batch, algorithm.pretraining.clip)
        return 1

    @property
    def _of_policy(self) -> tuple[torch.Tensor, torch.Tensor]:
        rows = slice(self.algorithm.policy.batch_size)
        return self.fake[rows], self.parts.dataset.train.start[rows]


PARTS = ("sampling", "search", "generator step", "update of D", "likelihood epoch")


def operations(sizes: Sizes, algorithm: SeqGAN) -> dict[str, float]:
    """Floating-point operations of products of matrices in each part, a multiplication and an addition being two.

    What is looked up in tables, and everything that is no product, counts for nothing, so that it is a lower bound.
    """
    generator, discriminator = algorithm.parts.generator, algorithm.parts.discriminator
    hidden, layers = generator.lstm.hidden_size, generator.lstm.num_layers
    further = (layers - 1) * 2 * 4 * hidden * 2 * hidden
    step = 2 * 4 * hidden * hidden + further + 2 * hidden * sizes.vocabulary  # the first layer's inputs are looked up
    token = step + 2 * 4 * hidden * generator.lstm.input_size
    length, width = sizes.length, discriminator.embedding.embedding_dim
    kernels = [(conv.kernel_size[0], conv.out_channels) for conv in discriminator.convolutions]
    features = discriminator.highway.in_features
    score = sum(2 * taps * width * filters * (length - taps + 1) for taps, filters in kernels)
    score += 2 * features * 2 * features + 2 * features
    batch, rollouts = algorithm.policy.batch_size, algorithm.policy.rollouts
    advanced = batch * length + batch * rollouts * (length - 1) * (length - 2) // 2
    search = advanced * step + batch * (rollouts * (length - 1) + 1) * score
    backward = 3  # with the pass forward: two products for each of its own
    return {
        "sampling": float(sizes.sequences * length * step),
        "search": float(search),
        "generator step": float(batch * length * step + search + backward * batch * length * token),
        "update of D": float(backward * 2 * min(algorithm.pretraining.batch_size, sizes.sequences) * score),
        "likelihood epoch": float(backward * sizes.sequences * length * token),
    }


def measure(sizes: Sizes, setting: Setting, repeats: int, peak: float | None) -> dict[str, Any]:
    """Seconds, TFLOP/s and memory of every part, and of the published schedule, computed from them."""
    with precision.in_force(setting.precision, setting.device):
        on_gpu = setting.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(setting.device)
        track = Track(sizes, setting)
        flops = operations(sizes, track.algorithm)
        parts: dict[str, Any] = {}
        for part in PARTS:
            for _ in range(REHEARSALS + 2):  # what is recorded is recorded now
                track.run(part)
            seconds = [_clocked(track, part) for _ in range(repeats)]
            achieved = flops[part] / statistics.median(seconds) / 1e12
            parts[part] = {"seconds": seconds, "tflops": achieved, "share_of_peak": achieved / peak if peak else None}
    return {
        "setting": {"device": setting.device.type, "precision": setting.precision, "graphs": setting.recorded},
        "parts": parts,
        "published schedule, computed": schedule(sizes, parts, track.batch),
        "memory_mib": torch.cuda.max_memory_allocated(setting.device) / 2**20 if on_gpu else measuring.peak_memory(),
        "memory_reserved_mib": torch.cuda.max_memory_reserved(setting.device) / 2**20 if on_gpu else None,
    }


def _clocked(track: Track, part: str) -> float:
    """Seconds until the device is done."""

    def wait() -> None:
        if track.setting.device.type == "cuda":
            torch.cuda.synchronize(track.setting.device)
        elif track.setting.device.type == "mps":
            torch.mps.synchronize()

    wait()
    clock = measuring.Clock()
    times = track.run(part)
    wait()
    return clock.lap() / times


def schedule(sizes: Sizes, parts: dict[str, Any], batch: int) -> dict[str, float]:
    """Seconds of the published schedule, each part scaled by the number of sequences: computed, not measured."""
    median = {part: statistics.median(found["seconds"]) for part, found in parts.items()}
    a_set = SET / sizes.sequences * median["sampling"]
    epoch = -(-SET // batch) * median["update of D"]
    sets = PUBLISHED["sets of D"] + PUBLISHED["rounds"] * PUBLISHED["sets of a round"]
    found = {
        "likelihood": PUBLISHED["likelihood epochs"] * SET / sizes.sequences * median["likelihood epoch"],
        "generator steps": PUBLISHED["rounds"] * median["generator step"],
        "sampling for D": sets * a_set,
        "updates of D": sets * PUBLISHED["epochs of a set"] * epoch,
    }
    return {**found, "all": sum(found.values())}


def describe(name: str, result: dict[str, Any]) -> str:
    """One configuration in one setting, for a person."""
    setting = result["setting"]
    recorded = "graphs" if setting["graphs"] else "no graphs"
    lines = [f"configuration {name}, {setting['device']}, {setting['precision']}, {recorded}"]
    targets = TARGETS.get(name, {})
    for part, found in result["parts"].items():
        share = "" if found["share_of_peak"] is None else f", {found['share_of_peak']:.1%} of the peak"
        aim = f"   (aim {1e3 * targets[part]:g} ms)" if part in targets else ""
        milliseconds = 1e3 * statistics.median(found["seconds"])
        lines.append(f"  {part:18} {milliseconds:10.3f} ms   {found['tflops']:8.3f} TFLOP/s{share}{aim}")
    whole = result["published schedule, computed"]
    aim = f"   (aim {targets['published schedule']:g} s)" if "published schedule" in targets else ""
    lines.append(
        f"  published schedule {whole['all']:10.1f} s, computed from the parts: "
        + ", ".join(f"{part} {seconds:.1f}" for part, seconds in whole.items() if part != "all")
        + aim
    )
    reserved = result["memory_reserved_mib"]
    held = "" if reserved is None else f", {reserved:.0f} MiB reserved"
    lines.append(f"  peak memory {result['memory_mib']:.0f} MiB{held}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--configuration", nargs="+", choices=CONFIGURATIONS, default=["P", "M", "L"])
    parser.add_argument("--device", default="cuda", help="cuda, mps or cpu (default cuda)")
    parser.add_argument("--precision", nargs="+", choices=precision.PRECISIONS, default=list(precision.PRECISIONS))
    parser.add_argument("--graphs", choices=["on", "off", "both"], default="both", help="CUDA graphs (default both)")
    parser.add_argument("--repeats", type=int, default=5, help="times that each part is clocked (default 5)")
    parser.add_argument(
        "--peak",
        nargs="+",
        type=float,
        metavar="TFLOP/S",
        help="what the GPU can do at most, one number or one for each precision: gives the share of it",
    )
    parser.add_argument("--json", type=measuring.json_file, metavar="FILE", help="write everything to a file")
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    peaks = options.peak or [None]
    if len(peaks) not in (1, len(options.precision)) or any(peak is not None and not peak > 0 for peak in peaks):
        parser.error("--peak takes one number above 0, or one for each --precision")
    try:
        device = choose_device(options.device)
    except UsageError as error:
        parser.error(str(error))
    recorded = (
        [False] if device.type != "cuda" else {"on": [True], "off": [False], "both": [False, True]}[options.graphs]
    )
    of_precision = dict(zip(options.precision, peaks * (len(options.precision) // len(peaks)), strict=True))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    result: dict[str, Any] = {
        "device": name,
        "conditions": measuring.conditions(),
        "repeats": options.repeats,
        "peak_tflops": {key: peak for key, peak in of_precision.items() if peak is not None},
        "configurations": {},
    }
    print(f"{name}; {measuring.in_words(result['conditions'])}")
    for configuration in options.configuration:
        found = result["configurations"][configuration] = {
            "sizes": asdict(CONFIGURATIONS[configuration]),
            "results": [],
        }
        for arithmetic, graphed in itertools.product(options.precision, recorded):
            setting = Setting(device, arithmetic, graphed)
            found["results"].append(
                measure(CONFIGURATIONS[configuration], setting, options.repeats, of_precision[arithmetic])
            )
            print(describe(configuration, found["results"][-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
