import csv
import io
import json
import math

import numpy as np
import pytest

from seqgan_music.reproduction import oracle as experiment
from seqgan_music.reproduction.oracle import output
from seqgan_music.reproduction.oracle.measuring import FIGURES, Table

MODELS = {model.name: model for model in experiment.models(experiment.settings("tiny", experiment.options("tiny")))}


def row(nll_oracle, nll_test=9.0, unique=0.99, seconds=10.0):
    values = dict.fromkeys(FIGURES, 0.5) | {"nll_oracle": nll_oracle, "nll_test": nll_test, "unique": unique}
    return values | {"nll_oracle_std": 0.7, "seconds": seconds}


def epochs(model, seed, phases, first=11.0):
    steps = dict.fromkeys(phases, 0)
    for epoch, phase in enumerate(phases, 1):
        steps[phase] += 1
        figures = {"nll_oracle": first - epoch / 10 + seed / 20, "nll_validation": 9.5, "seconds": 1.0}
        yield {"model": model, "seed": seed, "epoch": epoch, "phase": phase, "step": steps[phase], **figures}


def fake(rows, published=False, seeds=(1, 2), **changes):
    """A table of models by name, with a mean NLL_oracle each, and MLE at three temperatures."""
    rng = np.random.default_rng(0)
    by_seed = {
        name: {seed: row(nll + 0.1 * (seed - 1), *more) for seed in seeds} for name, (nll, *more) in rows.items()
    }
    curve = {
        temperature: {seed: row(9.0 + slope + 0.1 * (seed - 1), 9.0 - slope / 2, 0.99 + slope / 10) for seed in seeds}
        for temperature, slope in ((0.8, -0.8), (1.0, 0.0), (1.2, 0.8))
    }
    log = []
    for name in rows:
        phases = {"random": ["random"], "mle": ["mle"] * 6}.get(name, ["mle"] * 4 + ["adversarial"] * 3)
        for seed in seeds:
            log += epochs(name, seed, phases)
    facts = {
        "oracle": {"vocab_size": 5000, "embedding": 32, "hidden": 32, "digest": "", "published": published},
        "options": experiment.options("paper"),
        "samples": 100,
        "group of Self-BLEU": 100,
        "length": 20,
        "windows": {"train": 9990, "validation": 2000, "test": 1999},
        "seeds": list(seeds),
        "not finished": [],
        "finished, not measured like this": [],
        "settings": experiment.settings("paper", experiment.options("paper")),
        "versions": {},
    }
    values = {
        "models": [model for name, model in MODELS.items() if name in rows],
        "rows": by_seed,
        "curves": {"mle": curve} if "mle" in rows else {},
        "anchors": {"oracle": row(5.74, 5.75), "uniform": row(11.43, math.log(5000))},
        "scores": {
            name: {seed: values["nll_oracle"] + 0.7 * rng.standard_normal(100) for seed, values in of_seeds.items()}
            for name, of_seeds in by_seed.items()
        },
        "epochs": log,
        "facts": facts | changes.pop("facts", {}),
    }
    return Table(**values | changes)


def cells(text, heading):
    """Tables of a Markdown text: first cell → the others, of the table after a heading."""
    lines = text[text.index(heading) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    found = {}
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        name, *others = (cell.strip() for cell in line.strip("|").split("|"))
        found[name] = others
    return found


TABLE_1 = {"random": (11.4,), "mle": (9.0,), "pg-bleu": (8.9, 9.2), "seqgan": (8.6, 9.1, 0.98)}


def test_rows_are_means_and_spreads_over_seeds():
    text = output.markdown(fake(TABLE_1))
    table = cells(text, "# The oracle experiment")
    assert list(table)[2:] == ["random", "MLE", "PG-BLEU", "SeqGAN", "uniform", "oracle"]
    assert table["SeqGAN"][:5] == ["2", "8.650 ± 0.071", "0.700", "9.100 ± 0.000", "0.9800 ± 0.0000"]
    assert table["SeqGAN"][-1] == "10 ± 0"
    assert table["oracle"][:4] == ["", "5.740", "0.700", "5.750"]
    assert "An oracle of our own: V = 5000, T = 20, embedding 32, hidden 32. Sequences: 9990 training" in text
    assert "2 seeds; 100 samples of each model and seed" in text
    at = cells(text, "## MLE at temperatures")
    assert [at[t][1] for t in ("0.8", "1", "1.2")] == ["8.250 ± 0.071", "9.050 ± 0.071", "9.850 ± 0.071"]


def test_the_verdict_is_read_at_equal_quality():
    text = output.markdown(fake(TABLE_1))
    # 8.6 is half-way between temperatures 0.8 and 1: NLL_test 9.2, unique 0.95.
    verdict = cells(text, "## Better than likelihood of equal NLL_oracle?")
    assert verdict["SeqGAN"] == [
        *("MLE", "8.650", "0.900", "9.100", "9.200", "yes", "0.9800", "0.9500", "yes", "yes", "2 of 2"),
    ]
    assert verdict["PG-BLEU"][5] == "no"
    assert "random" not in verdict
    assert "MLE" not in verdict
    assert "- SeqGAN beside MLE at temperature 0.900, where NLL_oracle is 8.650 too: better. Seeds of which" in text
    bought = output.markdown(fake(TABLE_1 | {"seqgan": (8.6, 9.3, 0.9)}))
    assert "not better, for NLL_test is higher (9.300 against 9.200) and the unique share is lower (0.9000 ag" in bought
    beyond = output.markdown(fake(TABLE_1 | {"seqgan": (7.0,)}))
    assert "SeqGAN beside MLE: undefined, for NLL_oracle lower than at every temperature measured." in beyond
    assert cells(beyond, "## Better than")["SeqGAN"][-2:] == ["undefined", "0 of 2, 2 undefined"]
    nothing = output.markdown(fake(TABLE_1 | {"seqgan": (8.6, math.nan)}))
    assert "undefined, for a figure of the model is not defined" in nothing
    assert cells(nothing, "# The oracle")["SeqGAN"][3] == "–"


def test_the_published_figures_stand_in_a_table_of_their_own():
    text = output.markdown(fake(TABLE_1))
    heading = "## What was published: another oracle, not to be put in one column"
    assert cells(text, heading)["SeqGAN"] == ["8.736"]
    assert "8.736" not in text[: text.index(heading)]
    assert "The aim" not in text
    same = output.markdown(fake(TABLE_1, published=True))
    beside = cells(same, "## What was published, and ours on the same oracle")
    assert beside["SeqGAN"] == ["8.736", "8.650 ± 0.071"]
    assert beside["scheduled sampling"] == ["8.985", ""]
    assert "The oracle that the authors have published: V = 5000" in same


@pytest.mark.parametrize(
    ("seqgan", "says"),
    [
        ((8.6, 9.1, 0.98), "in the mean over seeds. SeqGAN beside MLE: reached."),
        ((8.6, 9.3, 0.98), "in the mean over seeds. SeqGAN beside MLE: not reached."),
        ((7.0, 9.1, 0.98), "in the mean over seeds. SeqGAN beside MLE: no answer."),
        ((8.7, 9.1, 0.98), "not reached, for no model beside likelihood's is below it in the mean over seeds."),
    ],
)
def test_the_aim_is_asked_on_the_published_oracle(seqgan, says):
    assert output.aim(fake(TABLE_1 | {"seqgan": seqgan}, published=True)).endswith(says)
    assert output.aim(fake(TABLE_1 | {"seqgan": seqgan})) is None


def test_the_improved_model_is_judged_at_every_temperature_and_is_no_curve_to_beat():
    plain = fake(TABLE_1 | {"improved": (8.9, 9.0)}, published=True)
    sharper = {0.8: {seed: row(8.4 + 0.1 * (seed - 1), 9.29) for seed in (1, 2)}, 1.0: plain.rows["improved"]}
    table = fake(TABLE_1 | {"improved": (8.9, 9.0)}, True, curves=plain.curves | {"improved": sharper})
    verdicts = {one.model: one for one in output.judged(table)}
    assert {one.baseline for one in output.judged(table)} == {"mle"}
    assert verdicts["improved at 0.8"].mean.holds, "9.29 against 9.3 at equal NLL_oracle"
    assert verdicts["improved"].mean.point.nll_oracle == pytest.approx(8.95)
    assert "improved at 1" not in verdicts
    assert "SeqGAN, improved at 0.8 beside MLE: reached" in output.aim(table)
    assert "SeqGAN, improved at 0.8 beside" not in output.aim(plain)
    assert "## SeqGAN, improved at temperatures" in output.markdown(table)


def test_seqgan_and_what_is_better_are_tested_against_all_others_and_no_pair_twice():
    table = fake(TABLE_1 | {"improved": (8.5, 9.0)})
    tests = output.tests(table)
    pairs = [(one.row, one.baseline) for one in tests if one.over == "seeds"]
    assert sorted(map(sorted, pairs)) == sorted(map(list, {tuple(sorted(pair)) for pair in pairs}))
    assert {pair[1] for pair in pairs if pair[0] == "seqgan"} == {"random", "mle", "pg-bleu"}
    assert {pair[1] for pair in pairs if pair[0] == "improved"} == {"random", "mle", "pg-bleu", "seqgan"}
    text = output.markdown(table)
    against = cells(text, "## NLL_oracle of SeqGAN against other rows")
    assert against[""] == [
        "difference of means",
        "p over seeds",
        "all samples",
        "samples of seed 1",
        "samples of seed 2",
    ]
    assert (
        against["MLE"][0]
        == f"{np.mean([table.scores['seqgan'][s].mean() - table.scores['mle'][s].mean() for s in (1, 2)]):+.3f}"
    )
    assert len(cells(text, "## NLL_oracle of SeqGAN, improved against other rows")) == 2 + 4
    one = cells(output.markdown(fake(TABLE_1, seeds=(1,))), "## NLL_oracle of SeqGAN against other rows")
    assert one["MLE"][1] == "–", "one seed has no test over seeds"


def test_p_values_that_underflow_are_told_as_such():
    table = fake(TABLE_1)
    scores = {name: {1: np.linspace(0, 1, 5000) + shift} for shift, name in enumerate(TABLE_1)}
    text = output.markdown(fake(TABLE_1, scores=scores))
    assert "< 1e-300 (< 1e-300)" in text
    assert "0e+00" not in text
    assert "0e+00" not in output.markdown(table)


def test_points_and_curves_as_csv(tmp_path):
    table = fake(TABLE_1)
    points = list(csv.DictReader(io.StringIO(output.to_csv(table))))
    assert len({tuple(one.values())[:4] for one in points}) == len(points)
    of = {(one["model"], one["temperature"], one["seed"], one["figure"]): one["value"] for one in points}
    assert float(of["seqgan", "1.0", "2", "nll_oracle"]) == table.rows["seqgan"][2]["nll_oracle"]
    assert float(of["mle", "0.8", "1", "nll_test"]) == 9.4
    assert float(of["oracle", "", "", "nll_oracle"]) == 5.74
    rounds = list(csv.DictReader(io.StringIO(output.curves_csv(table))))
    assert len(rounds) == 2 * (1 + 6 + 7 + 7)
    assert list(rounds[0])[:5] == ["model", "seed", "epoch", "phase", "step"]
    empty = fake({}, epochs=[])
    assert output.curves_csv(empty) == "model,seed,epoch\n"


def test_json_has_everything_and_no_nan(tmp_path):
    table = fake(TABLE_1 | {"seqgan": (8.6, math.nan), "strategy-1-5-3": (8.7,)})
    document = json.loads(json.dumps(output.to_dict(table), allow_nan=False))
    assert [one["model"] for one in document["rows"]] == ["random", "mle", "pg-bleu", "seqgan", "strategy-1-5-3"]
    assert document["rows"][3]["seeds"]["1"]["nll_test"] is None
    assert [one["temperature"] for one in document["at_temperatures"]] == [0.8, 1.0, 1.2]
    verdicts = {one["model"]: one for one in document["verdicts"]}
    assert set(verdicts) == {"pg-bleu", "seqgan", "strategy-1-5-3"}
    assert verdicts["seqgan"]["mean"]["holds"] is None
    assert verdicts["strategy-1-5-3"]["seeds"]["1"]["holds"] is True
    assert document["published"]["comparable"] is False
    assert document["published"]["nll_oracle"]["SeqGAN"] == 8.736


def test_what_is_missing_is_left_out_with_a_word(tmp_path):
    lone = fake(
        {"seqgan": (8.6,)}, facts={"not finished": ["seed-1/mle"], "finished, not measured like this": ["seed-3/mle"]}
    )
    text = output.markdown(lone)
    assert "for they are not trained to the end: seed-1/mle." in text
    assert "for they were not measured like this: seed-3/mle." in text
    assert "## Better than" not in text, "there is no likelihood model"
    assert "against other rows" not in text
    written = output.write(lone, tmp_path)
    assert [path.name for path in written if path.suffix == ".png"] == ["figure-2.png"]
    nothing = output.write(fake({}, epochs=[], facts={"seeds": []}), tmp_path / "nothing")
    assert [path.name for path in nothing] == ["table.md", "table.csv", "curves.csv", "table.json"]


def figure_of(table, draw):
    from matplotlib.figure import Figure

    figure = Figure()
    draw(table, figure)
    return figure


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_figure_2_has_every_row_over_epochs_and_the_end_of_pre_training():
    table = fake(TABLE_1 | {"strategy-1-1-10": (9.0,), "short-seqgan": (9.5,)})
    (axes,) = figure_of(table, output.draw_rows).axes
    drawn = lines(axes)
    assert {"random", "MLE", "PG-BLEU", "SeqGAN"} <= set(drawn)
    assert not any("(1, 1, 10)" in label or "epoch of" in label for label in drawn)
    x, y = drawn["SeqGAN"].get_data()
    assert list(x) == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(y, 11 - x / 10 + 1.5 / 20)
    assert len(drawn["MLE"].get_xdata()) == 6
    assert drawn["MLE"].get_zorder() > drawn["PG-BLEU"].get_zorder(), "which begins with the same curve"
    assert drawn["random"].get_ydata()[0] == pytest.approx(11.45)
    ends = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert [list(line.get_xdata()) for line in ends] == [[4, 4]]
    band = axes.collections[0].get_paths()[0].vertices
    assert np.ptp(band[band[:, 0] == 1][:, 1]) == pytest.approx(2 * np.std([1 / 20, 2 / 20], ddof=1))
    assert not figure_of(fake(TABLE_1, seeds=(1,)), output.draw_rows).axes[0].collections, "one seed has no band"


def test_figure_3_has_a_panel_for_each_strategy():
    table = fake(TABLE_1 | {"strategy-100-1-10": (9.4,), "strategy-1-1-10": (9.0,), "strategy-1-5-3": (8.8,)})
    panels = [axes for axes in figure_of(table, output.draw_strategies).axes if axes.get_lines()]
    assert [axes.get_title() for axes in panels] == [
        f"(g, d, k) = {one}" for one in ("(100, 1, 10)", "(1, 1, 10)", "(1, 5, 3)")
    ]
    assert all(set(lines(axes)) == {"SeqGAN", "end of pre-training"} for axes in panels)
    assert len({axes.get_ylim() for axes in panels}) == 1, "they have one scale"


def test_figure_4_has_both_ends_of_pre_training():
    table = fake(TABLE_1 | {"short-seqgan": (9.5,)})
    others = [one for one in table.epochs if one["model"] != "short-seqgan"]
    short = [one for seed in (1, 2) for one in epochs("short-seqgan", seed, ["mle"] + ["adversarial"] * 6)]
    (axes,) = figure_of(fake(TABLE_1 | {"short-seqgan": (9.5,)}, epochs=others + short), output.draw_short).axes
    ends = {line.get_color(): line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"}
    assert ends == {"C0": 4, "C1": 1}


def test_seeds_that_stopped_at_different_epochs_have_a_line_each():
    phases = {1: ["mle"] * 2 + ["adversarial"] * 3, 2: ["mle"] * 4 + ["adversarial"] * 3}
    log = [one for seed, of in phases.items() for one in epochs("improved", seed, of)]
    (axes,) = figure_of(fake({"improved": (9.0,)}, epochs=log), output.draw_rows).axes
    curves = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
    assert [list(line.get_xdata()) for line in curves] == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7]]
    np.testing.assert_allclose(curves[1].get_ydata(), 11 - np.arange(1, 8) / 10 + 2 / 20)
    assert len({line.get_color() for line in curves}) == 1
    assert curves[0].get_label() == "SeqGAN, improved, a line for each seed"
    assert not axes.collections, "a band would mix the phases"
    ends = [line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert ends == [2, 4]
    assert [text.get_text() for text in axes.texts] == ["end of pre-training: SeqGAN, improved"]


def test_what_the_improved_rows_are_trained_by_is_told():
    text = output.markdown(fake(TABLE_1 | {"improved": (8.5, 9.0)}))
    hidden = experiment.BETTER["generator"]["hidden"]
    assert "- **improved.** Over the settings of all other rows: generator.embedding" in text
    assert f"generator.hidden {hidden}, " in text
    assert "- **improved.**" not in output.markdown(fake(TABLE_1))


def test_pictures_are_written(tmp_path):
    names = ("strategy-100-1-10", "strategy-30-1-30", "strategy-1-1-10", "strategy-1-5-3", "short-seqgan")
    table = fake(TABLE_1 | dict.fromkeys(names, (9.0,)))
    written = [path for path in output.write(table, tmp_path) if path.suffix == ".png"]
    assert [path.name for path in written] == ["figure-2.png", "figure-3.png", "figure-4.png", "temperatures.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
