import csv
import io
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from seqgan_music import run_directory
from seqgan_music.metrics.bleu import self_bleu
from seqgan_music.reproduction import oracle as experiment
from seqgan_music.reproduction.oracle import measuring, output
from seqgan_music.reproduction.oracle.distribution import Oracle
from seqgan_music.reproduction.oracle.training import Runs
from seqgan_music.reproduction.oracle.verdict import (
    DIVERSITY,
    LIKELIHOOD,
    OVER_ALL_SAMPLES,
    OVER_SAMPLES,
    OVER_SEEDS,
    Point,
    answer,
    contrasts,
    corrected,
    equal_quality,
    judge,
)

TRAINED = ("random", "mle", "discriminator", "seqgan", "short-mle", "short-discriminator", "short-seqgan")
OWN = {"algorithm": {"generator_epochs": 20, "rounds": 2, "rollouts": 2, "patience": 50}, "run": {"device": "cpu"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Some models of two seeds, trained to the end; to be measured, not changed."""
    found = Runs(experiment.options("tiny"), "tiny", tmp_path_factory.mktemp("oracle") / "runs", own=OWN)
    for seed in (1, 2):
        for model in experiment.models(found.resolved):
            if model.name in TRAINED and (seed, model.name) != (2, "short-seqgan"):
                found.train(seed, model)
    return found


def measure(runs, seeds=(1, 2), samples=50, temperatures=(0.5, 1.5), **options):
    models = experiment.models(runs.resolved, ["table", "short"])
    how = {"samples": samples, "temperatures": temperatures, "device": "cpu", **options}
    return measuring.measure(runs, [(seed, models) for seed in seeds], runs.oracle, **how)


def kept(directory, name, file=measuring.FILE):
    with np.load(directory / file, allow_pickle=False) as found:
        return torch.from_numpy(found[f"ids {name}"].astype(np.int64)), found[f"nll {name}"]


# What is measured


def test_the_table_has_the_figures_of_the_samples_that_are_kept(runs):
    measured = []
    table = measure(runs, on_measuring=measured.append)
    assert [model.name for model in table.models] == ["random", "mle", "seqgan", "short-seqgan"]
    assert len(measured) == 7, "every run once"
    assert {name: sorted(of) for name, of in table.rows.items()} == {
        "random": [1, 2],
        "mle": [1, 2],
        "seqgan": [1, 2],
        "short-seqgan": [1],
    }
    missing = {"seed-1/early-mle", "seed-1/scheduled-sampling", "seed-1/pg-bleu", "seed-2/short-seqgan"}
    assert missing <= set(table.facts["not finished"])
    assert not any("discriminator" in name for name in table.facts["not finished"])
    for name, stage in {"random": "random", "mle": "mle", "seqgan": "adversarial"}.items():
        run = runs.run(2, name)
        ids, nll = kept(run.directory, "1.0")
        drawn, _ = run.sample(50, stage=stage, seed=measuring.seed_of_samples(run), device="cpu")
        np.testing.assert_array_equal(ids, drawn)
        np.testing.assert_allclose(nll, runs.oracle.nll(ids))
        row = table.rows[name][2]
        assert row["nll_oracle"] == pytest.approx(nll.mean())
        assert row["nll_oracle_std"] == pytest.approx(nll.std(ddof=1))
        assert row["unique"] == len({tuple(one) for one in ids.tolist()}) / 50
        assert row["self_bleu_3"] == pytest.approx(self_bleu(ids.numpy(), 5)[:, 2].mean())
        test, start = run.dataset.test[slice(None)]
        with torch.no_grad():
            log_p = run.generator(stage, "cpu")(test, start).log_softmax(-1)
        assert row["nll_test"] == pytest.approx(-log_p.gather(2, test[:, :, None]).mean().item(), abs=1e-5)
        assert row["seconds"] == sum(one["seconds"] for one in run_directory.read_log(run.directory))
        np.testing.assert_array_equal(table.scores[name][2], nll)
    assert table.rows["random"][1]["nll_test"] == pytest.approx(math.log(20))
    assert table.rows["seqgan"][1]["seconds"] > table.rows["mle"][1]["seconds"], "it has the time of its pre-training"


def test_no_two_models_are_measured_by_the_same_random_numbers(runs):
    every = [(seed, name) for seed in (1, 2) for name in ("random", "mle", "seqgan")]
    assert len({measuring.seed_of_samples(runs.run(*one)) for one in every}) == len(every)


def test_likelihood_stands_at_every_temperature(runs):
    table = measure(runs)
    assert list(table.curves) == ["mle"]
    curve = table.curves["mle"]
    assert set(curve) >= {0.5, 1.0, 1.5}
    assert curve[1.0][1].items() <= table.rows["mle"][1].items()
    for seed in (1, 2):
        nll = [curve[t][seed]["nll_oracle"] for t in sorted(curve)]
        assert nll == sorted(nll), "a sharper softmax buys it"
        run = runs.run(seed, "mle")
        test, start = run.dataset.test[slice(None)]
        with torch.no_grad():
            log_p = (run.generator("mle", "cpu")(test, start) / 0.5).log_softmax(-1)
        expected = -log_p.gather(2, test[:, :, None]).mean().item()
        assert curve[0.5][seed]["nll_test"] == pytest.approx(expected, abs=1e-5)
        drawn, _ = run.sample(50, stage="mle", seed=measuring.seed_of_samples(run), temperature=0.5, device="cpu")
        np.testing.assert_array_equal(kept(run.directory, "0.5")[0], drawn)


def test_the_anchors_are_fresh_sequences_of_the_oracle_and_uniform_tokens(runs):
    table = measure(runs)
    ids, nll = kept(runs.directory, "oracle", measuring.ANCHORS)
    assert table.anchors["oracle"]["nll_oracle"] == pytest.approx(nll.mean())
    test = runs.material.data.test.ids.long()
    assert table.anchors["oracle"]["nll_test"] == pytest.approx(runs.oracle.nll(test).mean())
    assert not (ids[:20, None] == runs.material.data.train.ids[:20]).all(2).all(1).any()
    assert table.anchors["uniform"]["nll_test"] == pytest.approx(math.log(20))
    uniform, _ = kept(runs.directory, "uniform", measuring.ANCHORS)
    assert uniform.min() == 0
    assert uniform.max() == 19
    assert table.anchors["uniform"]["nll_oracle"] > table.rows["mle"][1]["nll_oracle"]
    assert table.anchors["oracle"]["nll_oracle"] < table.rows["mle"][1]["nll_oracle"]


def test_epochs_are_counted_through_likelihood_and_rounds(runs):
    table = measure(runs)
    mine = [one for one in table.epochs if (one["model"], one["seed"]) == ("seqgan", 2)]
    assert [one["epoch"] for one in mine] == list(range(1, 23))
    assert [one["phase"] for one in mine] == ["mle"] * 20 + ["adversarial"] * 2
    assert [one["step"] for one in mine[-3:]] == [20, 1, 2]
    log = [one for one in run_directory.read_log(runs.place(2, "seqgan")) if one["phase"] != "discriminator"]
    assert [one["nll_oracle"] for one in mine] == [one["nll_oracle"] for one in log]
    short = [one["phase"] for one in table.epochs if one["model"] == "short-seqgan"]
    assert short == ["mle"] * 2 + ["adversarial"] * 2


def test_self_bleu_is_taken_within_groups(monkeypatch):
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (25, 6)))
    nll = np.linspace(1, 2, 25)
    monkeypatch.setattr(measuring, "GROUP", 10)
    groups = np.concatenate([self_bleu(ids[:10].numpy(), 5), self_bleu(ids[10:20].numpy(), 5)])
    found = measuring.figures(ids, nll)
    assert found["self_bleu_2"] == pytest.approx(groups[:, 1].mean())
    assert found["self_bleu_5"] == pytest.approx(groups[:, 4].mean())
    assert (found["nll_oracle"], found["nll_oracle_std"]) == (pytest.approx(1.5), pytest.approx(nll.std(ddof=1)))


# What is kept


def test_nothing_that_holds_is_measured_again(runs):
    first = measure(runs)
    files = {path: path.read_bytes() for path in runs.directory.rglob("*.npz")}
    measured = []
    again = measure(runs, on_measuring=measured.append)
    assert (again.rows, again.curves, again.anchors) == (first.rows, first.curves, first.anchors)
    for name, of_seeds in first.scores.items():
        for seed, nll in of_seeds.items():
            np.testing.assert_array_equal(again.scores[name][seed], nll)
    assert not measured
    assert {path: path.read_bytes() for path in files} == files
    # What another call has measured is read; another temperature is measured alone.
    more = measure(runs, seeds=(1,), temperatures=(0.7,), on_measuring=measured.append)
    assert [run.directory for run in measured] == [runs.place(1, "mle")]
    assert {t: sorted(of) for t, of in more.curves["mle"].items()} == {0.5: [1, 2], 0.7: [1], 1.0: [1, 2], 1.5: [1, 2]}
    assert more.rows == first.rows


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", "oracle", "samples"])
def test_figures_that_do_not_hold_any_more_are_taken_again(damage, runs, monkeypatch):
    run, measured = runs.run(1, "seqgan"), []
    how = {"samples": 30, "device": "cpu", "on_measuring": measured.append}
    first = measuring.of_run(run, runs.oracle, [1.0], **how)
    assert measuring.of_run(run, runs.oracle, [1.0], **how)[1.0].figures == first[1.0].figures
    before = len(measured)
    if damage == "oracle":
        other = measuring.of_run(run, Oracle.random(9, vocab_size=20, embedding=4, hidden=4), [1.0], **how)
        assert other[1.0].figures["nll_oracle"] != first[1.0].figures["nll_oracle"]
    elif damage == "samples":
        assert len(measuring.of_run(run, runs.oracle, [1.0], **how | {"samples": 31})[1.0].nll) == 31
    else:
        (run.directory / measuring.FILE).write_bytes(damage)
        assert measuring.of_run(run, runs.oracle, [1.0], **how)[1.0].figures == first[1.0].figures
    assert len(measured) == before + 1


def test_what_was_measured_with_other_samples_is_left_out_and_told(runs, tmp_path):
    measure(runs)
    other = measure(runs, seeds=(2,), samples=33)
    assert {name: list(of) for name, of in other.rows.items()} == {name: [2] for name in ("random", "mle", "seqgan")}
    assert set(other.facts["finished, not measured like this"]) == {
        f"seed-1/{name}" for name in ("random", "mle", "seqgan", "short-seqgan")
    }
    assert "for they were not measured like this: seed-1/random, seed-1/mle" in output.markdown(other)


def test_from_runs_to_files(runs, tmp_path):
    table = measure(runs)
    written = output.write(table, tmp_path / "out")
    names = [path.name for path in written]
    texts = ["table.md", "table.csv", "curves.csv", "table.json"]
    assert names == [*texts, "figure-2.png", "figure-4.png", "temperatures.png"], "no strategy is trained"
    document = json.loads((tmp_path / "out" / "table.json").read_text("utf-8"))
    assert {row["model"]: row["seeds"]["1"] for row in document["rows"]} == {
        name: of[1] for name, of in table.rows.items()
    }
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "curves.csv").read_text("utf-8"))))
    assert len(lines) == 2 * (1 + 20 + 22) + 4
    assert all(float(line["nll_oracle"]) > 0 and float(line["nll_validation"]) > 0 for line in lines)
    assert "early-mle" in (tmp_path / "out" / "table.md").read_text("utf-8")


# The verdict

LINE = [Point(7.0, 9.5, 0.5, 0.8), Point(8.0, 9.0, 0.9, 1.0), Point(9.0, 9.2, 1.0, 1.2)]


@pytest.mark.parametrize(
    ("nll_oracle", "expected"),
    [
        (7.25, (9.375, 0.6, 0.85)),
        (8.0, (9.0, 0.9, 1.0)),
        (8.5, (9.1, 0.95, 1.1)),
        (7.0, (9.5, 0.5, 0.8)),
        (9.0, (9.2, 1.0, 1.2)),
        (6.99, None),
        (9.01, None),
        (math.nan, None),
    ],
)
def test_the_point_of_equal_quality_lies_on_the_line_between_two_temperatures(nll_oracle, expected):
    found = equal_quality(nll_oracle, list(reversed(LINE)))
    if expected is None:
        assert found is None
    else:
        assert found.nll_oracle == nll_oracle
        assert (found.nll_test, found.unique, found.temperature) == pytest.approx(expected)


def test_a_curve_that_comes_by_twice_is_taken_where_it_is_hardest():
    bent = [*LINE, Point(7.5, 9.9, 1.0, 1.4)]
    assert equal_quality(8.25, bent).temperature == pytest.approx(1.3)
    flat = [Point(8.0, 9.4, 0.7, 0.9), Point(8.0, 9.0, 0.9, 1.0)]
    assert equal_quality(8.0, flat) == Point(8.0, 9.0, 0.9, 1.0)
    holes = [LINE[0], Point(math.nan, 9.0, 0.9, 0.9), Point(8.0, math.nan, 0.9, 1.0), LINE[2]]
    assert equal_quality(8.0, holes).nll_test == pytest.approx(9.35)


@pytest.mark.parametrize(
    ("point", "likelihood", "diversity", "why"),
    [
        (Point(7.5, 9.2, 0.8), True, True, ""),
        (Point(7.5, 9.25, 0.7), True, True, ""),
        (Point(7.5, 9.26, 0.8), False, True, ""),
        (Point(7.5, 9.2, 0.69), True, False, ""),
        (Point(7.5, 9.3, 0.1), False, False, ""),
        (Point(6.0, 9.0, 1.0), None, None, "NLL_oracle lower than at every temperature measured"),
        (Point(9.5, 9.0, 1.0), None, None, "NLL_oracle higher than at every temperature measured"),
        (Point(7.5, math.nan, 1.0), None, None, "a figure of the model is not defined"),
    ],
)
def test_the_questions(point, likelihood, diversity, why):
    found = answer(point, LINE)
    assert (found[LIKELIHOOD], found[DIVERSITY], found.why_not) == (likelihood, diversity, why)
    assert found.holds == (None if likelihood is None else likelihood and diversity)
    assert answer(point, LINE[:1]).holds is None


def test_the_verdict_is_of_each_seed_and_of_the_means():
    curve = {
        1.0: {1: Point(8.0, 9.0, 0.9, 1.0), 2: Point(8.4, 9.2, 0.9, 1.0), 3: Point(8.2, 9.1, 0.9, 1.0)},
        0.8: {1: Point(7.0, 9.5, 0.5, 0.8), 2: Point(7.4, 9.7, 0.5, 0.8)},
        0.6: {1: Point(6.0, 9.9, 0.1, 0.6)},
    }
    models = {
        "better": {1: Point(7.5, 9.2, 0.8), 2: Point(7.9, 9.48, 0.8)},
        "beyond": {1: Point(6.5, 9.6, 0.9), 2: Point(7.0, 9.6, 0.9)},
        "alone": {4: Point(7.5, 9.2, 0.8)},
    }
    better, beyond = judge(models, curve, "mle")
    assert (better.model, better.baseline, sorted(better.seeds)) == ("better", "mle", [1, 2])
    assert [one.holds for one in better.seeds.values()] == [True, False]
    # Means: 7.7 lies half-way between (7.2, 9.6, 0.5) and (8.2, 9.1, 0.9).
    assert better.mean.tempered.nll_test == pytest.approx(9.35)
    assert better.mean.tempered.temperature == pytest.approx(0.9)
    assert better.mean.point.nll_test == pytest.approx(9.34)
    assert better.mean.holds is True
    assert beyond.mean.holds is None, "0.6 was not measured of both seeds"
    assert beyond.seeds[1].holds is True
    assert beyond.seeds[2].holds is None


def test_tests_over_samples_and_over_seeds():
    rng = np.random.default_rng(0)
    scores = {
        "mle": {seed: rng.normal(9.0, 0.5, 40) for seed in (1, 2, 3)},
        "seqgan": {seed: rng.normal(8.8, 0.5, 40) for seed in (1, 2, 3)},
        "one": {2: rng.normal(8.8, 0.5, 40)},
        "elsewhere": {4: rng.normal(8.8, 0.5, 40)},
    }
    found = corrected(contrasts(scores, "seqgan"))
    by_kind = {(one.baseline, one.over, one.seed): one for one in found}
    assert set(by_kind) == {
        *(("mle", OVER_SAMPLES, seed) for seed in (1, 2, 3)),
        ("one", OVER_SAMPLES, 2),
        *((name, over, None) for name in ("mle", "one") for over in (OVER_ALL_SAMPLES, OVER_SEEDS)),
    }
    mine, theirs = scores["seqgan"], scores["mle"]
    expected = stats.ttest_ind(mine[2], theirs[2], equal_var=False)
    assert by_kind["mle", OVER_SAMPLES, 2].result.p == pytest.approx(expected.pvalue)
    pooled = stats.ttest_ind(
        np.concatenate(list(mine.values())), np.concatenate(list(theirs.values())), equal_var=False
    )
    assert by_kind["mle", OVER_ALL_SAMPLES, None].result.p == pytest.approx(pooled.pvalue)
    means = [[one.mean() for one in of.values()] for of in (mine, theirs)]
    of_seeds = by_kind["mle", OVER_SEEDS, None]
    assert of_seeds.result.p == pytest.approx(stats.ttest_ind(*means, equal_var=False).pvalue)
    assert of_seeds.result.difference == pytest.approx(np.mean(means[0]) - np.mean(means[1]))
    lone = by_kind["one", OVER_SEEDS, None].result
    assert math.isnan(lone.p), "one seed has no spread"
    assert lone.difference == pytest.approx(mine[2].mean() - scores["one"][2].mean()), "of the seed that both have"
    assert of_seeds.p_holm == of_seeds.result.p, "alone in its family"
    family = sorted(one.result.p for one in found if one.over == OVER_SAMPLES)
    assert min(one.p_holm for one in found if one.over == OVER_SAMPLES) == pytest.approx(min(1, 4 * family[0]))
    assert contrasts(scores, "missing") == []
    assert {one.baseline for one in contrasts(scores, "seqgan", ["mle"])} == {"mle"}
