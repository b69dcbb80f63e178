import csv
import dataclasses
import itertools
import json
import math
import shutil

import matplotlib.image
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from seqgan_music_cli.main import main

import seqgan_music
from seqgan_music import report
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import COLUMNS, MelodySet, draw, evaluate, evaluate_run, temperatures
from seqgan_music.evaluation.temperatures import Curves, distance_to_curve, measure
from seqgan_music.run import Run

N = 40
GRID = (0.05, 0.5, 1.0, 2.0)
STAGES = ["mle", "adversarial", "best"]


@pytest.fixture(scope="module")
def curves(tiny_run):
    return measure(tiny_run, GRID, samples=N, device="cpu")


def same(a, b):
    """Whether two tables hold the same numbers, NaN where NaN."""
    assert list(a) == list(b)
    return all(np.array_equal(list(a[t].values()), list(b[t].values()), equal_nan=True) for t in a)


def test_every_stage_has_a_point_at_every_temperature_beside_the_anchors(curves):
    assert list(curves.points) == STAGES
    for curve in curves.points.values():
        assert tuple(curve) == GRID
        for values in curve.values():
            assert set(COLUMNS) | {"distance_validation"} <= set(values)
            assert all(math.isfinite(values[name]) for name in (*temperatures.PLANE, "nll", "distance_validation"))
    assert list(curves.anchors) == ["real", "Markov-1", "Markov-2", "uniform"]


def test_temperature_1_is_the_row_of_the_ordinary_evaluation(curves, tiny_run):
    ordinary = evaluate_run(tiny_run, samples=N, device="cpu")
    names = [f"{kind}bleu_{n}" for kind in ("", "self_") for n in (2, 3, 4, 5)]
    names += ["mse_nearest", "mse_pairs", "unique", "nll"]
    for name in names:
        for stage in STAGES:
            assert curves.points[stage][1.0][name] == ordinary.rows[stage][name], (stage, name)
        np.testing.assert_equal(curves.anchors["real"][name], ordinary.rows["real"][name])


def test_a_point_is_measured_on_samples_of_its_temperature(curves, tiny_run):
    tokenizer = tiny_run.tokenizer
    references = MelodySet.of_tokens(tokenizer, *torch_unique(tiny_run.dataset.test))
    found = evaluate({"mle": draw(tiny_run, N, seed=0, stage="mle", temperature=0.5)}, references).rows["mle"]
    for name in ("bleu_4", "mse_nearest", "mse_pairs"):
        assert curves.points["mle"][0.5][name] == found[name]
    assert curves.points["mle"][0.5]["bleu_4"] != curves.points["mle"][1.0]["bleu_4"]


def torch_unique(windows):
    both = torch.cat([windows.start[:, None].long(), windows.ids.long()], 1)
    rows = torch.tensor(list(dict.fromkeys(map(tuple, both.tolist()))))
    return rows[:, 1:], rows[:, 0]


def test_the_lower_the_temperature_the_less_there_is(curves):
    for curve in curves.points.values():
        unique = [values["unique"] for values in curve.values()]
        alike = [values["self_bleu_4"] for values in curve.values()]
        assert unique[0] < 0.8 * min(unique[2:])
        assert alike[0] > max(alike[2:])


def test_the_likelihood_is_that_of_the_sharpened_distribution(curves, tiny_run):
    ids, start = tiny_run.dataset.test[slice(None)]
    spoken = ids != tiny_run.dataset.pad_id
    with torch.no_grad():
        logits = tiny_run.generator("mle", "cpu")(ids, start)
    for temperature in GRID:
        log_prob = (logits.double() / temperature).log_softmax(-1).gather(2, ids[..., None])[..., 0]
        expected = -log_prob[spoken].mean().item()
        assert curves.points["mle"][temperature]["nll"] == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(curves, tiny_run):
    again = measure(tiny_run, reversed(GRID), stages=["mle"], samples=N, device="cpu")
    assert same(again.points["mle"], curves.points["mle"]), "in whatever order temperatures and stages are named"
    assert list(again.points) == ["mle"]
    other = measure(tiny_run, [0.5], stages=["mle"], samples=N, seed=1, device="cpu").points["mle"]
    assert tuple(other) == (0.5, 1.0), "1 is always among them"
    for name in ("bleu_4", "self_bleu_4", "distance_validation"):
        assert other[0.5][name] != curves.points["mle"][0.5][name]


def test_the_best_temperature_is_chosen_on_the_validation_part_alone(curves, tiny_run):
    data = tiny_run.dataset
    run = Run(tiny_run.directory)
    run.dataset = dataclasses.replace(data, test=data.train)
    other_test = measure(run, GRID, samples=8, device="cpu")
    run.dataset = dataclasses.replace(data, validation=data.test)
    other_validation = measure(run, GRID, samples=8, device="cpu")
    for stage in STAGES:
        for temperature in GRID:
            here = curves.points[stage][temperature]
            assert other_test.points[stage][temperature]["distance_validation"] == here["distance_validation"]
            assert other_test.points[stage][temperature]["mse_pairs"] != here["mse_pairs"]
            assert other_validation.points[stage][temperature]["distance_validation"] != here["distance_validation"]
    assert other_test.best == curves.best
    assert set(curves.best) == set(STAGES)


def test_the_distance_is_the_mean_of_what_closeness_says(curves, tiny_run, monkeypatch):
    seeds = []
    sample = tiny_run.sample

    def noted(n, **options):
        seeds.append((n, options["seed"]))
        return sample(n, **options)

    monkeypatch.setattr(tiny_run, "sample", noted)
    found = measure(tiny_run, [1.0], stages=["mle"], samples=N, device="cpu").points["mle"][1.0]
    closeness = temperatures.Closeness(tiny_run.dataset, tiny_run.tokenizer, tiny_run.settings["run"]["seed"])
    measured, chosen = sorted(seeds, key=lambda one: one[1])
    assert measured == (N, 0)
    assert chosen[0] == temperatures.DRAWS * closeness.size
    assert chosen[1] > 1000, "samples of their own"
    starts = closeness.start.repeat(temperatures.DRAWS)
    ids, start = sample(chosen[0], stage="mle", seed=chosen[1], device="cpu", start=starts)
    size = closeness.size
    each = [
        closeness.measure(ids[i : i + size], start[i : i + size])["distance_validation"]
        for i in range(0, chosen[0], size)
    ]
    assert found["distance_validation"] == pytest.approx(sum(each) / temperatures.DRAWS)
    assert len(set(each)) > 1


def test_equal_curves_are_neither_nearer():
    same = np.array([0.1, 0.2, 0.3])
    curves = made_up({"a": {}, "b": {}}, resampled={"a": same, "b": same.copy()})
    assert curves.nearer("a", "b") == curves.nearer("b", "a") == 0.5


def made_up(points, distances=None, resampled=None):
    """Curves with these (Self-BLEU-4, BLEU-4) points for each stage at 1, 2, ..., and real music at (0.5, 0.5)."""
    anchors = {"real": {"self_bleu_4": 0.5, "bleu_4": 0.5}}
    stages = {}
    for stage, places in points.items():
        far = (distances or {}).get(stage, [1.0] * len(places))
        stages[stage] = {
            float(t): {"self_bleu_4": x, "bleu_4": y, "distance_validation": d}
            for t, ((x, y), d) in enumerate(zip(places, far, strict=True), 1)
        }
    resampled = {stage: np.array(values) for stage, values in (resampled or {}).items()}
    return Curves(stages, anchors, {}, resampled)


def test_the_best_has_the_smallest_distance_and_of_two_that_nearer_to_1():
    place = [(0.1, 0.1)] * 3
    nan = math.nan
    found = made_up(
        dict.fromkeys("abcd", place),
        {"a": [0.3, 0.1, 0.2], "b": [0.2, 0.1, 0.1], "c": [nan, nan, 0.4], "d": [nan] * 3},
    )
    assert found.best == {"a": 2.0, "b": 2.0, "c": 3.0}
    assert [row for row in found.rows() if "best" in row] == [
        "a at 2, its best",
        "b at 2, its best",
        "c at 3, its best",
    ]


def test_a_curve_is_near_real_where_its_line_is_not_only_its_points():
    found = made_up({"line": [(0.0, 0.4), (1.0, 0.4)], "point": [(0.5, 0.35)], "none": [(math.nan, 0.5)]})
    assert found.distance("line") == pytest.approx(0.1)
    assert found.distance("point") == pytest.approx(0.15)
    assert math.isnan(found.distance("none"))


def test_whether_a_curve_is_nearer_is_a_share_of_paired_resamplings():
    nan = math.nan
    distances = {"a": [0.1, 0.2, 0.3, 0.4], "b": [0.2, 0.3, 0.2, 0.5], "c": [nan] * 4}
    found = made_up({stage: [(0.1, 0.1)] for stage in "abc"}, resampled=distances)
    assert found.nearer("a", "b") == 0.75
    assert found.nearer("b", "a") == 0.25
    assert found.nearer("c", "a") == found.nearer("a", "c") == 0
    assert found.interval("a") == pytest.approx((0.1075, 0.3925))
    assert np.isnan(found.interval("c")).all()


def test_resampled_means_vary_as_means_of_so_many_scores_do():
    rng = np.random.default_rng(5)
    quality, diversity = rng.random(400), rng.normal(0.5, 0.1, 400)
    diversity[::2] = math.nan  # Self-BLEU is taken of fewer samples
    scores = {"bleu_4": quality, "self_bleu_4": diversity}
    found = temperatures._resampled_points(scores, np.random.default_rng(0))
    assert found.shape == (temperatures.RESAMPLINGS, 2)
    assert found.mean(0) == pytest.approx([np.nanmean(diversity), quality.mean()], abs=1e-3)
    expected = [np.nanstd(diversity) / math.sqrt(200), quality.std() / math.sqrt(400)]
    assert found.std(0) == pytest.approx(expected, rel=0.08)
    nothing = {"bleu_4": quality, "self_bleu_4": np.full(400, math.nan)}
    assert np.isnan(temperatures._resampled_points(nothing, np.random.default_rng(0))[:, 0]).all()


def test_resampled_distances_lie_around_the_measured_one_and_come_from_the_seed(curves, tiny_run):
    for stage in STAGES:
        low, high = curves.interval(stage)
        assert low < curves.distance(stage) < high
        assert len(curves.resampled[stage]) == temperatures.RESAMPLINGS
    again = measure(tiny_run, GRID, stages=["best"], samples=N, device="cpu")
    np.testing.assert_equal(again.resampled["best"], curves.resampled["best"])


def test_distance_to_a_curve_is_that_to_the_nearest_of_all_its_points():
    rng = np.random.default_rng(0)
    for _ in range(50):
        line, target = rng.random((rng.integers(2, 7), 2)), rng.random(2)
        line[1] = line[0]  # two temperatures may give one point
        share = np.linspace(0, 1, 2001)[:, None]
        dense = np.concatenate([a + share * (b - a) for a, b in itertools.pairwise(line)])
        expected = np.linalg.norm(dense - target, axis=1).min()
        assert distance_to_curve(line, target) == pytest.approx(expected, abs=1e-3)
        assert distance_to_curve(line, target) <= expected + 1e-12
    assert distance_to_curve([[math.nan, 0], [3, 4]], [0, 0]) == 5
    assert math.isnan(distance_to_curve([[3, 4]], [0, math.nan]))
    assert math.isnan(distance_to_curve([], [0, 0]))


def test_curves_are_kept_as_json_csv_and_picture(curves, tmp_path):
    written = report.write_curves(curves, tmp_path)
    assert [path.name for path in written] == ["temperatures.json", "temperatures.csv", "temperatures.png"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    values = json.loads(written[0].read_text("utf-8"))
    json.dumps(values, allow_nan=False)
    assert [(row["stage"], row["temperature"]) for row in values["rows"]] == [(s, t) for s in STAGES for t in GRID]
    assert values["rows"][0]["bleu_4"] == curves.points["mle"][0.05]["bleu_4"]
    assert values["real"] == values["anchors"]["real"]
    assert values["real"]["nll"] is None
    facts = values["facts"]
    assert facts["best_temperature"] == curves.best
    assert facts["temperatures"] == list(GRID)
    assert facts["samples"]["of every point"] == N
    for stage in STAGES:
        told = facts["distance_of_curve_to_real"][stage]
        assert told["distance"] == curves.distance(stage)
        assert told["low"] < told["distance"] < told["high"]
    assert list(facts["nearer_to_real"]) == ["mle than adversarial", "mle than best", "adversarial than best"]
    assert facts["nearer_to_real"]["mle than adversarial"] == curves.nearer("mle", "adversarial")
    with written[1].open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(values["rows"]) + 4
    for line, row in zip(lines, values["rows"], strict=False):
        figures = {name: float(text) if text else None for name, text in line.items() if name != "stage"}
        assert figures == {name: value for name, value in row.items() if name != "stage"}
    real = lines[len(values["rows"])]
    assert (real["stage"], real["temperature"], real["nll"]) == ("real", "", "")
    assert float(real["self_bleu_4"]) == values["real"]["self_bleu_4"]


def shares(path, colours):
    """Share of a picture that has each colour."""
    picture = matplotlib.image.imread(path)[..., :3]
    wanted = [[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours]
    return [(abs(picture - rgb) < 0.02).all(-1).mean() for rgb in wanted]


def test_the_picture_has_a_line_for_every_stage_and_bears_what_is_undefined(curves, tmp_path):
    picture = tmp_path / "a.png"
    report.draw_curves(curves, picture)
    colours = report.COLOURS[:4]
    assert [share > 0.0005 for share in shares(picture, colours)] == [True, True, True, False]
    one = Curves({"mle": {1.0: curves.points["mle"][1.0]}}, curves.anchors)
    report.draw_curves(one, picture)
    assert [share > 0.0001 for share in shares(picture, colours)] == [True, False, False, False]
    nothing = Curves(
        {"mle": {1.0: dict.fromkeys(curves.points["mle"][1.0], math.nan)}},
        {name: dict.fromkeys(values, math.nan) for name, values in curves.anchors.items()},
        resampled={"mle": np.full(3, math.nan)},
    )
    report.draw_curves(nothing, picture)
    assert nothing.to_dict()["facts"]["best_temperature"] == {}
    with pytest.raises(UsageError, match="ending must be one of"):
        report.draw_curves(curves, tmp_path / "a.mid")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperatures": [0.5, 0.0]}, "temperature must lie in"),
        ({"temperatures": [math.nan]}, "temperature must lie in"),
        ({"stages": ["mle", "worst"]}, r"no stage 'worst'; it has: mle, adversarial, best"),
        ({"samples": 1}, "at least 2 samples"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_meant_is_refused(tiny_run, options, says):
    with pytest.raises(UsageError, match=says):
        measure(tiny_run, **options)


def test_a_run_without_its_windows_or_its_weights_is_refused(tiny_run, own_run, tmp_path):
    from seqgan_music.export import export

    export(tiny_run, tmp_path / "small")
    with pytest.raises(UsageError, match="is an exported run"):
        measure(Run(tmp_path / "small"))
    shutil.rmtree(own_run / "checkpoints")
    with pytest.raises(UsageError, match="no trained generator yet"):
        measure(Run(own_run))


def test_a_run_that_has_no_adversarial_phase_has_one_curve(tiny_corpus, tiny_settings, tmp_path):
    tiny_settings["algorithm"] = {"name": "mle", "epochs": 1, "batch_size": 32}
    run = seqgan_music.train(tiny_corpus, settings=tiny_settings, directory=tmp_path / "run", evaluate=False)
    assert list(measure(run, [0.5], samples=4).points) == ["mle"]


def call(*words):
    done = CliRunner().invoke(main, ["evaluate", *map(str, words)], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


def test_the_command_prints_a_table_or_json_alone_and_keeps_the_files(own_run):
    before = (own_run / "report.json").read_bytes()
    words = (own_run, "-n", 20, "--temperatures", "0.05, 1.5,1")
    code, out, err = call(*words, "--stage", "mle", "--stage", "best")
    assert (code, err) == (0, "")
    values = json.loads((own_run / "temperatures.json").read_text("utf-8"))
    lines = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")]
    best = values["facts"]["best_temperature"]
    expected = [
        f"{stage} at {t}{', its best' if best[stage] == float(t) else ''}"
        for stage in ("mle", "best")
        for t in ("0.05", "1", "1.5")
    ]
    assert lines[2:] == [*expected, "real", "Markov-1", "Markov-2", "uniform"]
    for stage in ("mle", "best"):
        end = {0.05: ", the lowest tried", 1.5: ", the highest tried"}.get(best[stage], "")
        assert f"{stage} {best[stage]:g}{end}" in out
        told = values["facts"]["distance_of_curve_to_real"][stage]
        assert f"{stage} {told['distance']:.3f} ({told['low']:.3f} to {told['high']:.3f})" in out
    assert f"mle is nearer than that of best in {values['facts']['nearer_to_real']['mle than best']:.0%}" in out
    assert "temperatures.png" in out
    assert (own_run / "temperatures.png").is_file()
    code, out, err = call(*words, "--json", "--seed", 3)
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((own_run / "temperatures.json").read_text("utf-8"))
    assert json.loads(out)["facts"]["seed"] == 3
    assert (own_run / "report.json").read_bytes() == before, "that is the ordinary evaluation's"


def test_default_is_a_range_around_1(own_run):
    code, out, _ = call(own_run, "-n", 4, "--stage", "mle", "--temperatures", "default", "--json")
    assert code == 0
    assert json.loads(out)["facts"]["temperatures"] == [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4]
