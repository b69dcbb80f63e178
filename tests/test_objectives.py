"""Every built-in objective: by hand, against a plain twin, for every tokenizer, and on the tunes themselves."""

import dataclasses
import importlib
import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import entropy
from seqgan_music_cli.main import main

from seqgan_music import registry
from seqgan_music.metrics import key, musicality
from seqgan_music.notes import HELD, OUTSIDE, REST, Melodies
from seqgan_music.objectives import OBJECTIVES
from seqgan_music.objectives.keys import key_correlations
from seqgan_music.tokenizers import TOKENIZERS
from seqgan_music.tokenizers.grid import GridTokenizer

ROOT = Path(__file__).parents[1]
METRES = ((4, 4), (6, 8), (3, 4), (2, 4), (2, 2), (5, 4), (12, 8), (9, 8), (3, 8), (6, 4), (1, 4))
GRID = GridTokenizer(metres=METRES, low=40, high=100)
C, D, E, F, G, A, B = 60, 62, 64, 65, 67, 69, 71
SILENCE = None


def objective(name):
    return registry.resolve(OBJECTIVES, "objective", name)()


def sixteenths(*events, metre=(4, 4), opening=()):
    """A melody of pitches, each a sixteenth long or (pitch, sixteenths), after the opening tokens, then its end."""
    ids = list(opening)
    for event in events:
        pitch, steps = event if isinstance(event, tuple) else (event, 1)
        ids += [0 if pitch is SILENCE else pitch - GRID.low + 2, *[1] * (steps - 1)]
    return GRID.melodies(torch.tensor([[*ids, GRID.end_id, GRID.pad_id]]), torch.tensor([GRID.start_ids[metre]]))


BY_HAND = [
    ("tonality", sixteenths(C, G, C, C, D), 2 / 4),
    ("melodicity", sixteenths(C, F, C, A, A, D), 4 / 5),
    ("ratio_of_steps", sixteenths(C, D, E - 1, C, (SILENCE, 4), D, D), 3 / 5),
    ("tonality", sixteenths(C), math.nan),
    ("organ_tonality", sixteenths((C, 2), G, C), 1 / 3),  # the fall back does not count
    ("organ_melodicity", sixteenths(C, F, C, G, C, A, C), 3 / 6),
    ("organ_ratio_of_steps", sixteenths(C, (C + 1, 2), C, D), 2 / 4),
    ("organ_tonality", sixteenths((SILENCE, 2), 53), 1 / 2),  # a rest is MIDI 46, seven semitones below
    ("organ_tonality", sixteenths(C, G, C, G, opening=[1]), 0.0),
    ("organ_melodicity", sixteenths(opening=[1, 1]), 0.0),
    ("organ_ratio_of_steps", sixteenths(C), math.nan),
    ("organ_ratio_of_steps", sixteenths(opening=[1]), math.nan),
    ("key_clarity", sixteenths(C, (C + 12, 7)), (6.35 - 3.4825) / math.sqrt(11 / 12 * 19.1458)),
    ("key_clarity", sixteenths((C, 2), D, E, F, (G, 2), A, B), 0.9349),
    ("key_clarity", sixteenths(*range(60, 72)), math.nan),
    ("scale_consistency", sixteenths(C, D, (E, 9), C + 1), 3 / 4),
    ("scale_consistency", sixteenths((SILENCE, 4)), math.nan),
    ("cadence", sixteenths((C, 2), D, E, F, (G, 2), A, B, C), 1.0),
    ("cadence", sixteenths((C, 2), D, E, F, (G, 2), A, B, C, G, (SILENCE, 3)), 0.5),
    ("cadence", sixteenths((C, 2), D, E, F, (G, 2), A, B, C, E), 0.0),
    ("cadence", sixteenths((C, 2), D, E, F, (G, 2), A, B, C, (E - 1, 30)), 0.0),  # long, and no tonic
    ("cadence", sixteenths((A, 2), B, C, D, (E, 2), F, A - 1, A), 1.0),  # A minor
    ("cadence", sixteenths(C, C + 6, C), 1.0),  # C and F sharp fit equally well
    ("cadence", sixteenths(C, C + 6, C + 6), 1.0),
    ("cadence", sixteenths(C), math.nan),
    ("cadence", sixteenths(*range(60, 72), C), math.nan),
    ("pitch_range", sixteenths(C, G, C + 12), 1 / 2),
    ("pitch_range", sixteenths(C, C + 36), 1.0),
    ("pitch_range", sixteenths(C, C), 0.0),
    ("pitch_range", sixteenths((SILENCE, 2)), math.nan),
    ("contour_smoothness", sixteenths(C, D, G, G, G + 12), 1 - (0 + 0.3 + 1) / 3),
    ("contour_smoothness", sixteenths(C, C, C), math.nan),
    ("repetition", sixteenths(C, D, E, C, D, E, E + 2, D), 1.0),  # a tone higher
    ("repetition", sixteenths(C, D, E, C, D, E, F, D), 0.0),  # the third is a minor one
    ("repetition", sixteenths(C, D, E, C, D, (E, 2), E + 2, D), 0.0),  # another rhythm
    ("repetition", sixteenths(C, D, E, C, A, D, E, E + 2, D, A), 4 / 6),
    ("repetition", sixteenths(C, D, E, E + 2, E + 4, E + 6, E + 8), math.nan),
    ("repetition", sixteenths(C, D, E, E + 2, E + 4, E + 6, E + 8, E + 10), 1.0),
    ("repetition", sixteenths(*[C] * 12), 0.0),
    ("repetition", sixteenths(*[G, G, G, E] * 2), 1.0),
    ("repetition", sixteenths(*[E, G, G, G] * 2), 1.0),
    ("repetition", sixteenths(*[C, D] * 6), 1.0),
    ("rhythmic_variety", sixteenths((C, 4), (D, 4), (E, 2), (F, 2)), math.log(2) / math.log(9)),
    ("rhythmic_variety", sixteenths((C, 4), (D, 4)), 0.0),
    ("rhythmic_variety", sixteenths((C, 16), (D, 30)), 0.0),  # the longest class is open
    ("rhythmic_variety", sixteenths((SILENCE, 4)), math.nan),
    ("syncopation", sixteenths((SILENCE, 2), (C, 4), (D, 4), (E, 4), (F, 2)), (1 + 2 + 1) / (0 + 1 + 3 + 7)),
    ("syncopation", sixteenths((SILENCE, 2), (C, 2), (SILENCE, 2), (D, 10)), (1 + 2) / 11),  # a rest as well as a tie
    ("syncopation", sixteenths((C, 4), (D, 4), (E, 8)), 0.0),
    ("syncopation", sixteenths((SILENCE, 14), (C, 18)), (3 + 0) / (1 + 3 + 7 + 15)),  # over the bar line
    ("syncopation", sixteenths((SILENCE, 4), (C, 8), metre=(6, 8)), 1 / (1 + 5)),
    ("syncopation", sixteenths((SILENCE, 4), (C, 8), metre=(3, 4)), 0 / (2 + 5)),
    ("syncopation", sixteenths((SILENCE, 4)), math.nan),
    ("syncopation", sixteenths(C, D), math.nan),
    ("note_density", sixteenths((C, 4), (D, 4), (E, 4), (SILENCE, 4)), 3 / 16),
    ("note_density", sixteenths((SILENCE, 4)), 0.0),
    ("note_density", sixteenths(), math.nan),
]


@pytest.mark.parametrize(("name", "melody", "expected"), BY_HAND)
def test_by_hand(name, melody, expected):
    assert objective(name)(melody).tolist() == [pytest.approx(expected, abs=1e-4, nan_ok=True)]


def test_every_objective_is_worked_out_by_hand_with_an_undefined_case():
    assert {name for name, *_ in BY_HAND} == set(OBJECTIVES)
    undefined = {name for name, _, value in BY_HAND if math.isnan(value)}
    assert set(OBJECTIVES) - undefined == {"melodicity", "ratio_of_steps", "organ_tonality", "organ_melodicity"}


@pytest.mark.parametrize("apart", [2, 3, 4, 6])
def test_a_cadence_in_keys_that_fit_equally_well_is_the_same_on_each_of_their_tonics(apart):
    values = [
        objective("cadence")(sixteenths(*range(low, low + 12, apart), last)).item()
        for low in range(55, 62)
        for last in range(low, low + 12, apart)
    ]
    assert values == [1.0] * len(values)


def test_pitch_classes_that_are_equally_long_but_for_rounding_have_no_key():
    totals = torch.full((1, 12), 2.4)
    totals[0, 0] = totals[0, 0].nextafter(torch.tensor(9.0))
    assert len(totals.unique()) > 1
    assert key_correlations(totals).isnan().all()
    assert key_correlations(totals + torch.eye(12)[:1]).isfinite().all()


@dataclasses.dataclass
class Tune:
    """One melody as plain Python values, times in grid steps."""

    pitch: list
    onset: list
    duration: list
    length: int
    metre: tuple
    steps: list
    quarter: Fraction


def tunes(melodies):
    per_quarter = melodies.steps_per_quarter
    for row in range(len(melodies)):
        notes = melodies.mask[row]
        onset, duration, length = (
            (times.double() * per_quarter).round().long().tolist()
            for times in (melodies.onset[row][notes], melodies.duration[row][notes], melodies.length[row])
        )
        yield Tune(
            melodies.pitch[row][notes].tolist(),
            onset,
            duration,
            length,
            tuple(melodies.metre[row].tolist()),
            melodies.steps[row].tolist(),
            Fraction(per_quarter).limit_denominator(1000),
        )


def share(wanted):
    wanted = list(wanted)
    return sum(wanted) / len(wanted) if wanted else math.nan


def of_intervals(*sizes):
    return lambda tune: share(abs(b - a) in sizes for a, b in itertools.pairwise(tune.pitch))


def organ(wanted):
    def of(tune):
        expanded = [46 if said == REST else said for said in tune.steps if said != OUTSIDE]
        if len(expanded) < 2:
            return math.nan
        if expanded[0] == HELD:
            return 0.0
        return share(wanted(a, b) for a, b in itertools.pairwise(expanded))

    return of


def in_band(*bands):
    return lambda a, b: any(low < 2 ** ((b - a) / 12) < high for low, high in bands)


FOURTH, FIFTH, SIXTH = (1.28, 1.38), (1.45, 1.55), (1.62, 1.72)


def key_clarity(tune):
    _, clarity = key.find_key(key.pitch_class_durations(np.array(tune.pitch, int), tune.duration))
    return max(0.0, clarity) if clarity == clarity else math.nan


def scale_consistency(tune):
    return musicality.scale_consistency([tune.pitch], [[True] * len(tune.pitch)]).item() if tune.pitch else math.nan


def cadence(tune):
    fits = key.key_correlations(key.pitch_class_durations(np.array(tune.pitch[:-1], int), tune.duration[:-1]))
    if np.isnan(fits).any():
        return math.nan
    degrees = [(tune.pitch[-1] - number) % 12 for number in np.flatnonzero(fits > fits.max() - 1e-5)]
    return max({0: 1.0, 7: 0.5}.get(degree, 0.0) for degree in degrees)


def pitch_range(tune):
    return min(1.0, (max(tune.pitch) - min(tune.pitch)) / 24) if tune.pitch else math.nan


def contour_smoothness(tune):
    return share(1 - (min(max(abs(b - a), 2), 12) - 2) / 10 for a, b in itertools.pairwise(tune.pitch) if a != b)


def rhythmic_variety(tune):
    if not tune.pitch:
        return math.nan
    classes = [2 ** (i / 2) / 4 for i in range(9)]
    nearest = [min(range(9), key=lambda i: abs(math.log(d / tune.quarter / classes[i]))) for d in tune.duration]
    return entropy(np.bincount(nearest, minlength=9)) / math.log(9)


def repetition(tune):
    number = len(tune.pitch)
    if number < 8:
        return math.nan
    motifs = [
        tuple(
            (tune.pitch[i + k] - tune.pitch[i], tune.onset[i + k] - tune.onset[i]) for k in range(4)
        )
        for i in range(number - 3)
    ]  # fmt: skip
    heard = set()
    for i, motif in enumerate(motifs):
        if motif in motifs[: max(i - 3, 0)] and any(interval for interval, _ in motif):
            heard |= {i, i + 1, i + 2, i + 3}
    return len(heard) / (number - 4)


def syncopation(tune):
    """Longuet-Higgins and Lee's: the weight of the strongest tie or rest, less that of the onset before it."""
    numerator, denominator = tune.metre
    beats = numerator // 3 if numerator % 3 == 0 and numerator > 3 else numerator
    bar = Fraction(4 * numerator, denominator) * tune.quarter
    units = {bar, bar / beats, bar / numerator if beats < numerator else bar / beats / 2}
    if beats > 2 and beats % 2 == 0:
        units.add(bar / 2)
    units = sorted(units)  # the weight of a point is the number of levels that it is on

    def weight(point):
        return sum(point % unit == 0 for unit in units)

    points = sorted({unit * i for unit in units for i in range(1, math.ceil(tune.length / unit))})
    if not tune.pitch or not points:
        return math.nan
    strength = 0
    for onset, end in zip(tune.onset, [*tune.onset[1:], tune.length], strict=True):
        strongest = max((weight(point) for point in points if onset < point < end), default=0)
        strength += max(strongest - weight(onset), 0)
    return strength / sum(map(weight, points))


def note_density(tune):
    return len(tune.pitch) / tune.length if tune.length else math.nan


TWINS = {
    "tonality": of_intervals(7),
    "melodicity": of_intervals(5, 7, 9),
    "ratio_of_steps": of_intervals(1, 2),
    "organ_tonality": organ(in_band(FIFTH)),
    "organ_melodicity": organ(in_band(FOURTH, FIFTH, SIXTH)),
    "organ_ratio_of_steps": organ(lambda a, b: abs(b - a) == 1),
    "key_clarity": key_clarity,
    "scale_consistency": scale_consistency,
    "cadence": cadence,
    "pitch_range": pitch_range,
    "contour_smoothness": contour_smoothness,
    "repetition": repetition,
    "rhythmic_variety": rhythmic_variety,
    "syncopation": syncopation,
    "note_density": note_density,
}


@pytest.fixture(scope="session", params=TOKENIZERS)
def batch(request, tiny_corpus):
    """Melodies of a tokenizer: real windows, real windows with changes, and random tokens, in metres of all kinds."""
    if "miditok" in request.param:
        pytest.importorskip("miditok", reason="the extra miditok is not installed")
    metres = [list(metre) for metre in METRES if metre != (3, 8) or "miditok" not in request.param]
    tokenizer = registry.resolve(TOKENIZERS, "tokenizer", request.param).fit(tiny_corpus.pieces, metres=metres)
    windows = [tokenizer.windows(tokenizer.encode(piece), 128, every_bar=False) for piece in tiny_corpus.pieces]
    real = torch.from_numpy(np.concatenate(windows))[:40].long()
    rng = torch.Generator().manual_seed(3)
    noise = torch.randint(tokenizer.end_id + 1, (80, 128), generator=rng)
    changed = real.where(torch.rand(real.shape, generator=rng) < 0.9, noise[: len(real)])
    silent = torch.full((1, 128), tokenizer.end_id)
    ids = torch.cat([real, changed, noise, silent])
    starts = torch.tensor(list(tokenizer.start_ids.values()))
    return tokenizer, ids, starts[torch.randint(len(starts), (len(ids),), generator=rng)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_plain_twin_says_the_same_for_every_tokenizer(name, batch):
    tokenizer, ids, start = batch
    melodies = tokenizer.melodies(ids, start)
    found = objective(name)(melodies)
    assert found.dtype == torch.float32
    expected = torch.tensor([TWINS[name](tune) for tune in tunes(melodies)], dtype=torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6, equal_nan=True)
    assert len(expected[expected.isfinite()].unique()) > 4 or name == "cadence", "the twin would be easy to please"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_value_depends_on_its_own_melody_alone(name, batch):
    tokenizer, ids, start = batch
    together = objective(name)(tokenizer.melodies(ids, start))
    alone = [objective(name)(tokenizer.melodies(*rows)) for rows in zip(ids.split(1), start.split(1), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_times_may_be_off_by_rounding(name, batch):
    tokenizer, ids, start = batch
    melodies = tokenizer.melodies(ids, start)
    rng = torch.Generator().manual_seed(1)

    def shaken(times):
        towards = torch.where(torch.rand(times.shape, generator=rng) < 0.5, -math.inf, math.inf)
        return torch.where(times > 0, times.nextafter(towards), times)

    onset, duration, length = (shaken(times) for times in (melodies.onset, melodies.duration, melodies.length))
    moved = dataclasses.replace(melodies, onset=onset, duration=duration, length=length)
    torch.testing.assert_close(objective(name)(moved), objective(name)(melodies), rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("shape", [(0, 8), (3, 0), (0, 0), (3, 1), (3, 3)])
def test_batches_of_no_rows_no_steps_or_no_notes(name, shape):
    found = objective(name)(GRID.melodies(torch.ones(shape, dtype=torch.int64)))
    assert found.shape == shape[:1]
    assert found.dtype == torch.float32
    zero = shape[1] >= {"organ": 2, "note": 1}.get(name.partition("_")[0], math.inf)
    assert (found == 0 if zero else found.isnan()).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_is_read_back_from_the_device(name):
    melodies = GRID.melodies(torch.randint(GRID.end_id, (5, 20), generator=torch.Generator().manual_seed(1)))
    fields = {field.name: getattr(melodies, field.name) for field in dataclasses.fields(Melodies)}
    meta = {name: field.to("meta") if isinstance(field, torch.Tensor) else field for name, field in fields.items()}
    found = objective(name)(Melodies(**meta))  # a tensor on this device has no values to be read
    assert found.is_meta
    assert found.shape == (5,)


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module("objectives")


@pytest.fixture(scope="module")
def measured(benchmark):
    """Means on midi_data/ and on noise, as the benchmark prints them."""
    return benchmark.means(benchmark.material(benchmark.MIDI_DATA))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_means_on_real_music_and_noise_are_those_measured(name, measured):
    mine = objective(name)
    real, noise, undefined = measured[name]
    assert real == pytest.approx(mine.REAL, abs=6e-4)
    assert noise == pytest.approx(mine.NOISE, abs=5e-3)
    assert undefined < 1e-3
    told = " ".join(type(mine).__doc__.split())
    assert f"Mean {mine.REAL:.3f} on ``midi_data/``, {mine.NOISE:.3f} on noise." in told
    assert "How it is gamed: " in told
    assert "NaN " in told


def test_the_benchmark_prints_a_line_for_each(benchmark, few_tunes):
    options = [str(few_tunes), "--rows", "70", "--length", "80", "--repeats", "1", "--threads", "1", "--means"]
    lines = CliRunner().invoke(benchmark.main, options, catch_exceptions=False).output.splitlines()
    assert "70 sequences of 80 steps" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == list(OBJECTIVES)
    for line in lines[2:]:
        milliseconds, real, noise, undefined = (float(number.strip("%")) for number in line.split()[1:])
        assert milliseconds >= 0
        assert 0 <= real <= 1
        assert 0 <= noise <= 1
        assert undefined == 0


def test_one_table_in_the_docs_and_one_in_the_list():
    page = (ROOT / "docs" / "objectives.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    assert [row[1].strip("`") for row in rows] == list(OBJECTIVES)
    listed = CliRunner().invoke(main, ["list"], catch_exceptions=False).output.splitlines()
    for row, name in zip(rows, OBJECTIVES, strict=True):
        anchors = [f"{value:.3f}" for value in (objective(name).REAL, objective(name).NOISE)]
        assert row[4:6] == anchors
        (line,) = [line for line in listed if line.split()[:1] == [name]]
        assert line.split()[1:3] == anchors
        assert line.endswith(objective(name).description)
