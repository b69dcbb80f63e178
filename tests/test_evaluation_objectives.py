"""Objectives in an evaluation, in what is kept of it, and in a comparison."""

import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from seqgan_music_cli.main import main

from seqgan_music import measurements, registry, report
from seqgan_music.comparison import MAIN, compare, output
from seqgan_music.evaluation import Evaluation, MelodySet, evaluate, evaluate_run, temperatures
from seqgan_music.evaluation.objectives import OBJECTIVE, UNDEFINED, USUAL, Objectives, steered
from seqgan_music.metrics import METRICS
from seqgan_music.objectives import OBJECTIVES
from seqgan_music.run import Run
from seqgan_music.tokenizers.grid import GridTokenizer

SAMPLES = 24
OWN = """
def lowness(piece):
    \"\"\"Share of notes below E5.\"\"\"
    return float((piece.notes.pitch < {}).mean())
"""


@pytest.fixture(scope="module")
def measured(tiny_run):
    return evaluate_run(tiny_run, samples=SAMPLES, device="cpu")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    file = tmp_path_factory.mktemp("own") / "mine.py"
    file.write_text(OWN.format(76))
    return f"{file}:lowness"


@pytest.fixture(scope="module")
def steered_run(tiny_experiment, mine, tmp_path_factory):
    """A run whose reward has three objectives, one of its own; one of them has no weight."""
    directory = tmp_path_factory.mktemp("runs") / "steered"
    wanted = {"note_density~0.3": 1.0, mine: 0.5, "cadence": 0.0}
    list(tiny_experiment(directory, objectives=wanted, reward={"lambda": 0.5}))
    return directory


@pytest.fixture(scope="module")
def naive_run(tiny_experiment, tmp_path_factory):
    """A run without a discriminator."""
    directory = tmp_path_factory.mktemp("runs") / "naive"
    list(tiny_experiment(directory, objectives={"tonality>=0.4": 1.0}, reward={"lambda": 0.0}, run={"seed": 2}))
    return directory


def test_every_built_in_objective_is_measured_of_every_set(measured):
    for row, values in measured.rows.items():
        for name in OBJECTIVES:
            one = registry.resolve(OBJECTIVES, "objective", name)()
            found = measured.scores[row][OBJECTIVE + name]
            np.testing.assert_array_equal(found, one(measured.sets[row].melodies).double().numpy())
            assert values[UNDEFINED + name] == pytest.approx(np.isnan(found).mean())
            assert values[OBJECTIVE + name] == pytest.approx(np.nanmean(found), rel=1e-12, nan_ok=True)
            assert 0 <= np.nanmin(found) <= np.nanmax(found) <= 1


def test_the_melodies_measured_are_those_that_a_reward_sees(measured, tiny_run):
    for row in ("mle", "real", "uniform"):
        one = measured.sets[row]
        read = tiny_run.tokenizer.melodies(torch.from_numpy(one.ids), torch.from_numpy(one.start))
        for name in ("pitch", "onset", "duration", "mask", "length", "metre", "steps"):
            assert torch.equal(getattr(read, name), getattr(one.melodies, name)), name


def test_melodies_made_of_note_events_are_worth_what_those_of_tokens_are(tiny_run):
    """So that a chain of note events stands in the same table."""
    tokenizer, (ids, start) = tiny_run.tokenizer, tiny_run.dataset.train[:200]
    of_tokens = MelodySet.of_tokens(tokenizer, ids, start)
    again = MelodySet.of_events(of_tokens.events, ids.shape[1], of_tokens.metre, of_tokens.steps_per_quarter)
    assert (again.bar == of_tokens.bar).all()
    assert len({tuple(metre) for metre in again.metre.tolist()}) > 2
    known = Objectives.built_in()
    values = known.measure(again.melodies)
    for name, expected in known.measure(of_tokens.melodies).items():
        np.testing.assert_allclose(values[name], expected, atol=1e-6, err_msg=name)


def test_blocks_of_rows_change_no_value(tiny_run, monkeypatch):
    melodies = MelodySet.of_tokens(tiny_run.tokenizer, *tiny_run.dataset.train[:50]).melodies
    known = Objectives.built_in()
    whole = known.measure(melodies)
    monkeypatch.setattr("seqgan_music.evaluation.objectives.ROWS_AT_ONCE", 7)
    for name, values in known.measure(melodies).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6, err_msg=name)


def test_undefined_samples_are_left_out_and_counted():
    tokenizer = GridTokenizer(low=60, high=72)
    fifths, silence = [2, 9, 2, 9], [0, 1, 1, 1]
    one = MelodySet.of_tokens(tokenizer, torch.tensor([fifths, silence, silence, silence]), torch.zeros(4).long())
    none = MelodySet.of_tokens(tokenizer, torch.tensor([silence] * 2), torch.zeros(2).long())
    rows = evaluate({"one": one, "none": none}, one).rows
    assert rows["one"]["objective_tonality"] == 1
    assert rows["one"]["undefined_tonality"] == 0.75
    assert math.isnan(rows["none"]["objective_tonality"])
    assert rows["none"]["undefined_tonality"] == 1


def test_names_and_titles_are_no_other_metric_s():
    known = Objectives.built_in()
    more = {name: metric for name, metric in known.metrics.items() if name not in METRICS}
    assert set(more) == {kind + name for kind in (OBJECTIVE, UNDEFINED) for name in OBJECTIVES}
    assert len({metric.title for metric in known.metrics.values()}) == len(known.metrics)
    assert {metric.target for metric in more.values()} == {"equal to real"}
    assert all(metric.meaning and "\n" not in metric.meaning for metric in more.values())
    assert known.columns == [OBJECTIVE + name for name in USUAL], "ORGAN's three and key clarity"


@pytest.mark.parametrize(
    ("reward", "weights", "texts"),
    [
        ({"lambda": 0.5}, {"tonality": 1.0, "cadence": 0.0}, ["tonality"]),
        ({"lambda": 0.0}, {"tonality": 1.0, "cadence": 2.0}, ["tonality", "cadence"]),
        ({"lambda": 1.0}, {"tonality": 1.0}, []),
        ({"lambda": 1.0, "lambda_schedule": [[0, 1.0], [5, 0.5]]}, {"tonality": 1.0}, ["tonality"]),
        ({"lambda": 0.5, "lambda_schedule": [[0, 1.0], [5, 1.0]]}, {"tonality": 1.0}, []),
        ({"lambda": 0.5, "programme": [[3, ["cadence"]]]}, {"tonality": 1.0, "cadence": 1.0}, ["cadence"]),
        ({"lambda": 1.0}, {}, []),
    ],
)
def test_steered_is_what_is_paid_for_at_some_time(reward, weights, texts):
    settings = {"reward": {"lambda_schedule": [], "programme": [], **reward}, "objectives": weights}
    assert steered({**settings, "algorithm": {"name": "seqgan"}}) == texts
    assert steered({**settings, "algorithm": {"name": "mle"}}) == [], "there is no reward"


def test_a_steered_run_has_its_wishes_as_targets(steered_run, mine):
    found = evaluate_run(Run(steered_run, own_code=True), samples=SAMPLES, device="cpu")
    targets = {name: metric.target for name, metric in found.metrics.items()}
    assert targets["objective_note_density"] == "steered towards: near 0.3"
    assert targets[OBJECTIVE + mine] == "steered towards: more of it"
    assert targets["objective_cadence"] == targets["objective_tonality"] == "equal to real"
    assert found.metrics[OBJECTIVE + mine].title == "lowness"
    assert found.objectives.columns == [OBJECTIVE + name for name in ("note_density", mine, "cadence")]
    for row, values in found.rows.items():
        pitch, mask = found.sets[row].melodies.pitch, found.sets[row].melodies.mask
        shares = [float((p[m] < 76).float().mean()) for p, m in zip(pitch, mask, strict=True) if m.any()]
        assert values[OBJECTIVE + mine] == pytest.approx(np.mean(shares)), row
    assert json.loads(json.dumps(found.to_dict()))["objectives"] == found.objectives.columns
    text = report.summary(found)
    assert "Steered towards note density (near 0.3), lowness (more of it)." in text
    lines = [line for line in text.splitlines() if line.startswith("| cadence")]
    assert len(lines) == 1, "what is only measured is shown too"
    assert f"{found.rows['mle']['objective_cadence']:.3f}" in lines[0]


def test_code_of_ones_own_is_measured_only_where_it_may_be_loaded(steered_run, mine):
    found = evaluate_run(Run(steered_run), samples=SAMPLES, device="cpu")
    assert OBJECTIVE + mine not in found.rows["mle"]
    assert f"Not measured, for want of --own-code: {mine}." in report.tables(found)
    assert mine in found.facts["not measured, for want of --own-code"]
    done = CliRunner().invoke(main, ["evaluate", str(steered_run), "-n", "8", "--own-code"])
    assert done.exit_code == 0, done.stderr
    assert "| lowness " in done.stdout
    assert "except NLL and reverse NLL: lower, and what it was steered towards." in done.stdout
    assert done.stderr.startswith(f"objective '{mine}': "), "what it cost"


def test_an_unsteered_run_shows_the_usual_ones_and_explains_all(measured):
    text = report.tables(measured)
    table = text.partition(report.OBJECTIVES)[2]
    titles = [measured.metrics[OBJECTIVE + name].title for name in USUAL]
    heads = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert [head for head in heads if head not in ("", "undefined")] == titles
    assert "Steered" not in text
    assert report.summary(measured) == report.table(measured)
    explained = report.tables(measured, explain=True).partition(report.OBJECTIVES)[2]
    for name in OBJECTIVES:
        metric = measured.metrics[OBJECTIVE + name]
        assert f"| {metric.title}" in explained
        for page in (explained, report.explanation()):
            assert f"{metric.meaning}; target: equal to real" in page


def test_the_share_of_undefined_samples_stands_below_where_there_are_any():
    values = {"objective_tonality": 0.5, "undefined_tonality": 0.25, "objective_cadence": 0.5, "undefined_cadence": 0.0}
    known = Objectives(Objectives.built_in().measured, ("tonality", "cadence"))
    rows = {"mle": values, "real": {**values, "undefined_tonality": 0.0}}
    lines = report.objectives(Evaluation(rows, objectives=known)).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [["tonality", "0.500", "0.500"], ["undefined", "25.0%", ""], ["cadence", "0.500", "0.500"]]
    assert len({len(line) for line in lines}) == 1


def test_what_was_kept_is_measured_anew_when_own_code_changes(steered_run, mine, monkeypatch):
    run = Run(steered_run, own_code=True)
    first = measurements.of(run, samples=SAMPLES, device="cpu")
    asked = []
    again = measurements.of(run, samples=SAMPLES, device="cpu", on_measuring=asked.append)
    np.testing.assert_equal(again.rows, first.rows)
    np.testing.assert_array_equal(again.scores["mle"][OBJECTIVE + mine], first.scores["mle"][OBJECTIVE + mine])
    assert again.metrics[OBJECTIVE + mine] == first.metrics[OBJECTIVE + mine]
    assert not asked
    file = mine.rpartition(":")[0]
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(OWN.format(60))
    try:
        other = measurements.of(run, samples=SAMPLES, device="cpu", on_measuring=asked.append)
    finally:
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(OWN.format(76))
    assert asked == [run]
    assert other.rows["real"][OBJECTIVE + mine] < first.rows["real"][OBJECTIVE + mine]


def test_runs_of_different_objectives_stand_beside_each_other(steered_run, naive_run, mine, tmp_path):
    found = compare([steered_run, naive_run], samples=SAMPLES, device="cpu", own_code=True)
    names = [OBJECTIVE + name for name in ("note_density", mine, "tonality")]
    assert found.metrics == [*MAIN, "edit_distance", *names], "of both; what has no weight is not among them"
    for row in found.rows.values():
        assert set(names) <= set(row.values)
        assert not set(names) & set(row.distances), "real is not the target"
        assert "objective_cadence" in row.distances
    assert not any(test.of == "distance" for test in found.tests if test.metric in names)
    assert any(test.of == "value" for test in found.tests if test.metric in names)
    text = output.markdown(found)
    assert "tonality †" in text
    assert "tonality steered towards: at least 0.4" in text
    output.write(found, tmp_path)
    values = json.loads((tmp_path / "compare.json").read_text("utf-8"))
    assert values["metrics"]["objective_note_density"]["target"] == "steered towards: near 0.3"
    chosen = compare([naive_run], samples=SAMPLES, device="cpu", metrics=["objective_repetition"])
    assert "†" not in output.markdown(chosen)
    shares = {label: row.values["undefined_repetition"].mean() for label, row in chosen.rows.items()}
    (note,) = [note for note in chosen.notes if note.startswith("Undefined")] or [""]
    assert all((f"{share:.1%} of {label}" in note) == (share > 0) for label, share in shares.items())
    assert any(shares.values()), "or this shows nothing"


def test_what_was_kept_of_code_that_may_not_be_loaded_is_read_and_not_written_over(steered_run, mine, tmp_path):
    how = {"samples": SAMPLES, "device": "cpu"}
    rich = compare([steered_run], own_code=True, **how)
    kept = (steered_run / "scores.npz").read_bytes()
    poor = compare([steered_run], **how)
    assert poor.metrics == rich.metrics
    assert poor.meanings[OBJECTIVE + mine] == rich.meanings[OBJECTIVE + mine]
    assert output.to_csv(poor) == output.to_csv(rich)
    assert [note for note in poor.notes if mine in note] == [
        f"Measured before, and read without loading its code: {mine}"
    ]
    other = compare([steered_run], samples=SAMPLES + 1, device="cpu")
    assert f"Not measured, for want of --own-code: {mine}" in other.notes
    warmer = compare([steered_run], temperatures=[("mle", 0.9)], **how)
    assert "objective_cadence" in warmer.rows["mle at 0.9"].values
    assert all(OBJECTIVE + mine not in row.values for row in warmer.rows.values()), "of all or of none"
    output.write(warmer, tmp_path)
    assert (steered_run / "scores.npz").read_bytes() == kept
    file = mine.rpartition(":")[0]
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(OWN.format(60))
    try:
        assert OBJECTIVE + mine not in compare([steered_run], **how).metrics, "it says of another objective"
    finally:
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(OWN.format(76))


def test_two_objectives_of_one_title_are_told_apart(tiny_experiment, tmp_path):
    (tmp_path / "mine.py").write_text("def tonality(piece):\n    return 0.5\n")
    mine = f"{tmp_path / 'mine.py'}:tonality"
    list(tiny_experiment(tmp_path / "run", objectives={mine: 1.0, "tonality": 1.0}, reward={"lambda": 0.5}))
    known = Objectives.of(Run(tmp_path / "run", own_code=True))
    assert known.metrics[OBJECTIVE + mine].title == f"tonality ({mine})"
    assert known.metrics["objective_tonality"].title == "tonality"
    titles = [metric.title for metric in known.metrics.values()]
    assert len(set(titles)) == len(titles)


def test_temperature_curves_have_them_too(naive_run):
    found = temperatures.measure(Run(naive_run), [0.8], stages=["mle"], samples=SAMPLES, device="cpu")
    values = found.to_dict()
    assert all(0 <= row["objective_tonality"] <= 1 for row in values["rows"])
    assert values["metrics"]["objective_tonality"]["target"] == "steered towards: at least 0.4"
    done = CliRunner().invoke(main, ["evaluate", str(naive_run), "-n", "24", "--temperatures", "0.8"])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].rstrip(" |").endswith("tonality")
    assert "except NLL: lower, and what it was steered towards." in done.stdout
