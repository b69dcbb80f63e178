"""Race the program against its textbook twin, in turn, in one process: ``python benchmarks/race.py --help``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqgan_music import threads

threads.let_them_sleep()  # as the program does, before torch is imported

import growth  # noqa: E402
import measuring  # noqa: E402
import quality  # noqa: E402
import torch  # noqa: E402
from competitors import COMPETITORS, CONFIGURATIONS, Laps, Race, Sizes  # noqa: E402

from seqgan_music import jit  # noqa: E402

MIDI_DATA = Path(__file__).parents[1] / "midi_data"
RUNS: list[Callable[[Race], Laps]] = [Race.generator_step, Race.epoch, Race.sampling, Race.likelihood]
EVERYTHING = [name for name in CONFIGURATIONS if name != "tiny"]
WHOLE_ROUND = ("preset", "tiny")  # of these a round is so short that it is run, not computed


def race(track: Race, repeats: int, whole_round: bool) -> dict[str, Any]:
    """Seconds and ratios of all parts, and of a whole round."""
    seconds: dict[str, dict[str, list[float]]] = {}
    difference = track.mean_difference()
    for run in [*RUNS, *([Race.round] if whole_round else [])]:
        print(f"{run.__name__.replace('_', ' ')} ...", file=sys.stderr, flush=True)
        if run is not Race.round:
            run(track)  # the first time, everything is slow
        for _ in range(repeats):
            for part, lap in run(track).items():
                for who, taken in lap.items():
                    seconds.setdefault(part, {}).setdefault(who, []).append(taken)
    seconds["whole round, computed"] = computed_round(track, seconds)
    parts = {part: {"ratio": measuring.ratios(*laps.values()), "seconds": laps} for part, laps in seconds.items()}
    return {"parts": parts, "mean_difference": difference}


def computed_round(track: Race, seconds: dict[str, dict[str, list[float]]]) -> dict[str, list[float]]:
    """g generator steps, and d times a sampling and k epochs of D, scaled to the schedule's number of sequences."""
    algorithm = track.algorithm
    share = algorithm.discriminator_training.samples / track.sizes.sequences
    return {
        who: [
            algorithm.g_steps * step + algorithm.d_steps * share * (sampling + algorithm.d_epochs * epoch)
            for step, sampling, epoch in zip(
                *(seconds[part][who] for part in ("generator step", "sampling", "epoch of D")), strict=True
            )
        ]
        for who in COMPETITORS
    }


def memory(configuration: str, threads: int, precision: str) -> dict[str, dict[str, float]]:
    """Peak of each competitor in a process of its own."""
    peaks = {}
    for who in COMPETITORS:
        command = [sys.executable, __file__, "--configuration", configuration, "--threads", str(threads)]
        child = subprocess.run(
            [*command, "--precision", precision, "--only", who], capture_output=True, text=True, check=False
        )
        if child.returncode:
            raise RuntimeError(f"the {who} alone failed:\n{child.stderr}")
        peaks[who] = json.loads(child.stdout)
    return peaks


def run_one(who: str, sizes: Sizes, precision: str) -> dict[str, float]:
    """Peak memory of one competitor alone, in MiB, and what was held before it began."""
    track = Race(sizes, 1, arithmetic=precision)  # more roll-outs one after the other take no more memory
    before = measuring.peak_memory()
    track.run_alone(who)
    return {"before": before, "peak": measuring.peak_memory()}


def describe(name: str, result: dict[str, Any], repeats: int) -> str:
    """A race for a person: ratios only, for seconds mean nothing on another machine."""
    sizes, schedule = result["sizes"], result["schedule"]
    batch, length, rollouts, sequences = schedule["batch"], sizes["length"], schedule["rollouts"], sizes["sequences"]
    round_of = "{g_steps} steps, {d_steps} × {d_epochs} epochs of {samples} + {samples}".format(**schedule)
    notes = {
        "scoring of roll-outs": f"{batch * (rollouts * (length - 1) + 1)} sequences",
        "policy update": f"{batch} sequences",
        "epoch of D": f"{sequences} + {sequences}",
        "sampling": f"{sequences} sequences",
        "likelihood epoch": f"{sequences} sequences",
        "whole round, measured": round_of,
        "whole round, computed": round_of,
    }
    lines = [
        f"configuration {name}: V {sizes['vocabulary']}, T {length}, B {batch}, N {rollouts}, "
        f"generator {sizes['generator'] or 'default'}, discriminator {sizes['discriminator'] or 'default'}",
        f"{'textbook : program':60} {'median':>7}   range over {repeats} repeats",
    ]
    for part, found in result["parts"].items():
        ratio, note = found["ratio"], notes.get(part)
        label = f"{part} ({note})" if note else part
        lines.append(f"{label:60} {ratio['median']:7.2f}   {ratio['min']:.2f} - {ratio['max']:.2f}")
    lines.append(f"mean |difference| of the action values: {result['mean_difference']:.1e}")
    for who, peak in (result["memory_mib"] or {}).items():
        lines.append(f"peak memory of the {who}: {peak['peak']:.0f} MiB, {peak['before']:.0f} of them before it began")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] + ".")
    parser.add_argument(
        "--configuration", nargs="+", choices=CONFIGURATIONS, default=["default"], help="sizes, see README.md"
    )
    parser.add_argument("--growth", action="store_true", help="fit how the time grows with T, N, B, V and H, too")
    parser.add_argument("--quality", action="store_true", help="compare bfloat16 with float32 on real tokens, too")
    parser.add_argument("--all", action="store_true", help=f"{', '.join(EVERYTHING)}, growth and quality")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of the program")
    parser.add_argument(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compiled kernels in the program  [default: where there are]",
    )
    parser.add_argument("--whole-round", action="store_true", help="run a whole round of each configuration, too")
    parser.add_argument("--repeats", type=int, default=3, help="times that each part is run by both (default 3)")
    parser.add_argument("--doublings", type=int, default=2, help="of each size for --growth (default 2)")
    parser.add_argument("--seeds", type=int, default=5, help="for --quality (default 5)")
    parser.add_argument("--folder", type=Path, default=MIDI_DATA, help="of MIDI for --quality (default midi_data)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch, for both")
    parser.add_argument(
        "--processor",
        action="store_true",
        help="seconds of the processor, not of the clock: beside other programs, with one thread",
    )
    parser.add_argument(
        "--textbook-rollouts",
        type=int,
        metavar="K",
        default=2,
        help="run the textbook with K of N roll-outs (default 2)",
    )
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--json", type=measuring.json_file, metavar="FILE", help="write everything to a file")
    parser.add_argument("--only", choices=COMPETITORS, help=argparse.SUPPRESS)  # the child that measures memory
    options = parser.parse_args(argv)
    if min(options.repeats, options.threads, options.textbook_rollouts, options.doublings, options.seeds) < 1:
        parser.error("every number must be at least 1")
    if (options.quality or options.all) and not options.folder.is_dir():
        parser.error(f"--folder {options.folder} is no folder")
    if options.processor and options.threads > 1:
        parser.error("--processor counts threads that wait for each other too; give --threads 1")
    with measuring.settings(options.threads, options.jit):
        if options.jit and not jit.available():
            parser.error("--jit: Numba is not installed; pip install 'seqgan-music[fast]'")
        if options.only:
            print(json.dumps(run_one(options.only, CONFIGURATIONS[options.configuration[0]], options.precision)))
            return 0
        result = _measured(options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for; prints each as soon as it is there."""
    result: dict[str, Any] = {
        "precision": options.precision,
        "clock": "processor" if options.processor else "wall",
        "repeats": options.repeats,
        "conditions": measuring.conditions(),
        "races": {},
    }
    print(f"{measuring.in_words(result['conditions'])}, program in {options.precision}\n")
    for name in EVERYTHING if options.all else options.configuration:
        sizes = CONFIGURATIONS[name]
        track = Race(sizes, options.textbook_rollouts, arithmetic=options.precision, processor=options.processor)
        algorithm = track.algorithm
        result["races"][name] = {
            "sizes": asdict(sizes),
            "schedule": {
                "batch": track.policy.batch_size,
                "rollouts": track.policy.rollouts,
                "textbook_rollouts": track.textbook_rollouts,
                "g_steps": algorithm.g_steps,
                "d_steps": algorithm.d_steps,
                "d_epochs": algorithm.d_epochs,
                "samples": algorithm.discriminator_training.samples,
            },
            "memory_mib": None if options.no_memory else memory(name, options.threads, options.precision),
            **race(track, options.repeats, options.whole_round or name in WHOLE_ROUND),
        }
        print(describe(name, result["races"][name], options.repeats) + "\n", flush=True)
    if options.growth or options.all:
        result["growth"] = growth.growth(options.doublings, options.repeats, options.precision, options.processor)
        print(growth.describe(result["growth"]) + "\n", flush=True)
    if options.quality or options.all:
        result["quality"] = quality.quality(options.folder, options.seeds)
        print(quality.describe(result["quality"]) + "\n", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
