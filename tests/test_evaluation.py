import json
import math
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from seqgan_music import checkpoint, evaluation, report
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import COLUMNS, Evaluation, MelodySet, evaluate, evaluate_folder, evaluate_run
from seqgan_music.metrics import METRICS
from seqgan_music.tokenizers.grid import GridTokenizer

ROWS = ["mle", "adversarial", "best", "real", "Markov-1", "Markov-2", "uniform"]


@pytest.fixture(scope="module")
def measured(tiny_run):
    return evaluate_run(tiny_run, samples=24, device="cpu")


def events_of(tokens, tokenizer):
    """Note events of a window read token by token: (pitch or None, steps)."""
    events = []
    for token in tokens:
        if token in (tokenizer.end_id, tokenizer.pad_id):
            break
        pitch = token - 2 + tokenizer.low
        if token == 0 or not events:
            pitch = None if token in (0, 1) else pitch
            if not events or events[-1][0] is not None or pitch is not None:
                events.append([pitch, 0])
        elif token != 1:
            events.append([pitch, 0])
        events[-1][1] += 1
    return [tuple(event) for event in events]


def curve_of(tokens, tokenizer):
    """Pitch of every step; where nothing sounds that of the note before, or of the first note."""
    curve, pitch = [], None
    for token in tokens:
        if 2 <= token < tokenizer.end_id:
            pitch = token - 2 + tokenizer.low
        elif token in (tokenizer.end_id, tokenizer.pad_id):
            break
        curve.append(pitch)
    first = next((pitch for pitch in curve if pitch is not None), None)
    curve += [pitch] * (len(tokens) - len(curve))
    return None if first is None else [first if pitch is None else pitch for pitch in curve]


def once(windows):
    ids, start = windows[slice(None)]
    return [list(row[1:]) for row in dict.fromkeys(map(tuple, torch.cat([start[:, None], ids], 1).tolist()))]


def mean(values):
    return sum(values) / len(values)


def test_every_row_has_every_column(measured):
    assert list(measured.rows) == ROWS
    for row, values in measured.rows.items():
        assert set(COLUMNS) <= set(values) <= set(METRICS), row
        assert all(math.isfinite(values[name]) for name in COLUMNS if name != "nll")
    finite = [row for row in ROWS if math.isfinite(measured.rows[row]["nll"])]
    assert finite == ["mle", "adversarial", "best", "uniform"]


@pytest.mark.parametrize("row", ["mle", "adversarial", "real"])
def test_figures_equal_those_of_nltk_and_of_plain_loops(measured, tiny_run, row):
    tokenizer, data = tiny_run.tokenizer, tiny_run.dataset
    windows = once(data.validation) if row == "real" else tiny_run.sample(24, stage=row)[0].tolist()
    references = once(data.test)
    assert measured.facts["references"] == len(references)
    assert measured.facts["samples"][row] == len(windows)
    found = measured.rows[row]

    known = [events_of(window, tokenizer) for window in references]
    events = [one for one in (events_of(window, tokenizer) for window in windows) if one]
    smooth = SmoothingFunction().method1
    for n in (2, 3, 4, 5):
        expected = mean([sentence_bleu(known, one, (1 / n,) * n, smooth) for one in events])
        assert found[f"bleu_{n}"] == pytest.approx(expected, abs=1e-12)

    equal = measured.facts["samples for Self-BLEU and unique"]
    few = [events_of(window, tokenizer) for window in windows[:equal]]
    own = [sentence_bleu(few[:i] + few[i + 1 :], one, (0.25,) * 4, smooth) for i, one in enumerate(few) if one]
    assert found["self_bleu_4"] == pytest.approx(mean(own), abs=1e-12)
    assert found["unique"] == pytest.approx(len(set(map(tuple, few))) / len(few))

    curves = [curve for window in windows if (curve := curve_of(window, tokenizer))]
    real = [curve for window in references if (curve := curve_of(window, tokenizer))]
    distance = [[mean([(a - b) ** 2 for a, b in zip(one, r, strict=True)]) for r in real] for one in curves]
    assert found["mse_nearest"] == pytest.approx(mean([min(row) for row in distance]))
    assert found["mse_pairs"] == pytest.approx(mean([mean(row) for row in distance]))


def test_the_likelihood_is_that_of_the_test_tunes_per_token(measured, tiny_run):
    ids, start = tiny_run.dataset.test[slice(None)]
    for stage in tiny_run.stages:
        with torch.no_grad():
            log_prob = tiny_run.generator(stage)(ids, start).log_softmax(-1)
        spoken = ids != tiny_run.dataset.pad_id
        expected = -log_prob.gather(2, ids[..., None])[..., 0][spoken].double().mean().item()
        assert measured.rows[stage]["nll"] == pytest.approx(expected, rel=1e-5)


def test_the_uniform_anchor_knows_the_vocabulary_and_nothing_else(measured, tiny_run):
    sayable = tiny_run.tokenizer.high - tiny_run.tokenizer.low + 3
    assert measured.rows["uniform"]["nll"] == pytest.approx(math.log(sayable + 1)), "and END"


def test_references_measured_against_themselves_are_perfect(tiny_run):
    ids, start = tiny_run.dataset.test[:8]
    tokenizer = tiny_run.tokenizer
    full = [row for row in range(len(ids)) if len(events_of(ids[row].tolist(), tokenizer)) >= 5]
    one = MelodySet.of(tokenizer.melodies(ids[full], start[full]))
    found = evaluate({"same": one}, one)["same"]
    assert [found[f"bleu_{n}"] for n in (2, 3, 4, 5)] == pytest.approx([1.0] * 4)
    assert found["mse_nearest"] == 0
    assert found["mse_pairs"] > 0


def test_self_bleu_and_unique_are_taken_over_equally_many(tiny_run):
    ids, start = tiny_run.dataset.train[:40]
    doubled = torch.cat([ids[:10], ids[:10], ids[:20]]), torch.cat([start[:10], start[:10], start[:20]])
    sets = {"many": MelodySet.of(tiny_run.tokenizer.melodies(*doubled))}
    sets["few"] = MelodySet.of(tiny_run.tokenizer.melodies(ids[:10], start[:10]))
    rows = evaluate(sets, sets["few"])
    assert rows["many"]["unique"] == rows["few"]["unique"]
    assert rows["many"]["self_bleu_4"] == rows["few"]["self_bleu_4"]
    assert evaluate(sets, sets["few"], equal_sizes=20)["many"]["unique"] < rows["many"]["unique"]


def test_the_facts_say_what_the_numbers_depend_on(measured, tiny_run):
    facts = measured.facts
    assert facts["run"] == str(tiny_run.directory)
    assert facts["against"] == "the run's test tunes"
    assert {"python", "torch", "numpy", "seqgan-music"} <= set(facts["versions"])
    assert "method 1" in facts["BLEU"]
    assert "0.1" in facts["BLEU"]
    assert facts["samples"]["mle"] == facts["samples"]["Markov-1"] == facts["samples"]["uniform"] == 24
    assert facts["samples for Self-BLEU and unique"] == min(facts["samples"].values())
    assert facts["seed"] == 0


def test_the_same_seed_measures_the_same_and_another_does_not(measured, tiny_run):
    assert json.dumps(evaluate_run(tiny_run, samples=24).to_dict()) == json.dumps(measured.to_dict())
    other = evaluate_run(tiny_run, samples=24, seed=1).rows
    assert other["real"] == pytest.approx(measured.rows["real"], nan_ok=True)
    for row in ("mle", "adversarial", "Markov-1", "Markov-2", "uniform"):
        assert other[row]["bleu_2"] != measured.rows[row]["bleu_2"], row


def test_what_is_not_defined_is_null_in_json(measured):
    values = measured.to_dict()
    assert values["rows"]["real"]["nll"] is None
    json.dumps(values, allow_nan=False)
    assert set(values["metrics"]) == set(METRICS)
    assert Evaluation({"a": {"nll": math.inf}}).to_dict()["rows"]["a"]["nll"] is None


def test_silent_samples_are_left_out_of_the_means_and_all_silent_is_undefined():
    tokenizer = GridTokenizer(low=60, high=72)
    silence, scale = [0, 1, 1, 1], [2, 3, 4, 5]
    references = MelodySet.of(tokenizer.melodies(torch.tensor([scale])))
    sets = {
        "half": MelodySet.of(tokenizer.melodies(torch.tensor([silence, scale]))),
        "none": MelodySet.of(tokenizer.melodies(torch.tensor([silence, silence]))),
        "over": MelodySet.of(tokenizer.melodies(torch.full((2, 4), tokenizer.end_id))),
    }
    rows = evaluate(sets, references)
    assert rows["half"]["mse_nearest"] == 0
    assert math.isnan(rows["none"]["mse_nearest"])
    assert rows["none"]["unique"] == 0.5
    assert math.isnan(rows["over"]["bleu_4"])


def test_figures_of_a_case_worked_out_by_hand():
    tokenizer = GridTokenizer(low=60, high=72)
    c, d, e, hold = 2, 4, 6, 1
    references = MelodySet.of(tokenizer.melodies(torch.tensor([[c, hold, d, hold], [e, hold, hold, hold]])))
    sample = MelodySet.of(tokenizer.melodies(torch.tensor([[c, hold, e, hold]])))
    found = evaluate({"sample": sample}, references)["sample"]
    # Of two events (C, 2) is known, of one pair none: precisions 1/2 and 0.1/1.
    assert found["bleu_2"] == pytest.approx(math.sqrt(0.5 * 0.1))
    assert found["mse_nearest"] == pytest.approx(float(Fraction(0 + 0 + 4 + 4, 4)))
    assert found["mse_pairs"] == pytest.approx((2 + (16 + 16) / 4) / 2)
    assert math.isnan(found["self_bleu_4"]), "one sample has no others"


def test_another_folder_s_windows_can_be_the_references(measured, tiny_run, few_tunes):
    against = evaluate_run(tiny_run, samples=24, against=few_tunes)
    assert against.facts["against"] == str(few_tunes)
    assert against.facts["references"] > measured.facts["references"]
    assert against.rows["mle"]["mse_nearest"] < measured.rows["mle"]["mse_nearest"]
    assert against.rows["mle"]["nll"] != measured.rows["mle"]["nll"]
    assert tiny_run.evaluate(samples=24, against=few_tunes).rows["mle"] == against.rows["mle"]


def test_a_folder_is_measured_against_another(few_tunes, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    for file in sorted(few_tunes.iterdir())[:4]:
        shutil.copy(file, folder)
    found = evaluate_folder(folder, few_tunes, length=16, samples=20)
    assert list(found.rows) == [str(folder), "real", "Markov-1", "Markov-2", "uniform"]
    assert found.facts["length"] == 16
    assert found.facts["against"] == str(few_tunes)
    assert math.isnan(found.rows[str(folder)]["nll"])
    assert 0 < found.rows[str(folder)]["bleu_2"] <= 1
    assert str(folder) in report.table(found)


def test_a_folder_named_like_an_anchor_keeps_its_row(few_tunes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(few_tunes, "real")
    found = evaluate_folder("real", few_tunes, length=16, samples=20)
    assert list(found.rows)[:2] == ["real/", "real"]


@pytest.mark.parametrize(("option", "says"), [({"samples": 1}, "at least 2 samples"), ({"seed": -1}, "seed")])
def test_what_cannot_be_meant_is_refused(tiny_run, few_tunes, option, says):
    with pytest.raises(UsageError, match=says):
        evaluate_run(tiny_run, **option)
    with pytest.raises(UsageError, match=says):
        evaluate_folder(few_tunes, few_tunes, **option)


def test_references_that_the_run_cannot_say_are_refused_with_the_reason(tiny_run, tmp_path):
    from seqgan_music import midi
    from seqgan_music.notes import Note, Piece

    midi.write(Piece((Note(0, 480, 1), Note(480, 480, 2)), metre=(6, 8)), tmp_path / "low.mid")
    with pytest.raises(UsageError, match=r"can be measured.*pitch outside the vocabulary"):
        evaluate_run(tiny_run, samples=4, against=tmp_path)


def test_an_evaluation_is_kept_with_its_run(measured, own_run):
    checkpoint.write_report(own_run, measured)
    kept = json.loads((own_run / "report.json").read_text("utf-8"))
    assert kept["rows"]["mle"]["bleu_4"] == measured.rows["mle"]["bleu_4"]


def test_anchors_are_named_once(measured):
    assert set(ROWS[3:]) == set(evaluation.ANCHORS)


def test_no_sample_of_an_anchor_is_longer_than_a_window(tiny_run):
    data, tokenizer = tiny_run.dataset, tiny_run.tokenizer
    sets = MelodySet.of(tokenizer.melodies(*data.train[:50]))
    assert sets.steps.shape[1] == data.length
    assert len(sets) == 50
    assert np.issubdtype(sets.steps.dtype, np.integer)
