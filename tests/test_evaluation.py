import json
import math
import shutil
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from seqgan_music import checkpoint, evaluation, report
from seqgan_music.dataset import Windows
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import COLUMNS, Evaluation, MelodySet, evaluate, evaluate_folder, evaluate_run
from seqgan_music.evaluation.windows import tunes_by_turns
from seqgan_music.metrics import METRICS
from seqgan_music.metrics.events import event_codes
from seqgan_music.metrics.sequences import as_sequences
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
        assert set(values) == set(measured.metrics), row
        assert all(math.isfinite(value) for name, value in values.items() if name != "nll"), row
    assert set(COLUMNS) < set(METRICS)
    finite = [row for row in ROWS if math.isfinite(measured.rows[row]["nll"])]
    assert finite == ["mle", "adversarial", "best", "uniform"]


@pytest.mark.parametrize("row", ["mle", "adversarial", "real"])
def test_figures_equal_those_of_nltk_and_of_plain_loops(measured, tiny_run, row):
    tokenizer, data = tiny_run.tokenizer, tiny_run.dataset
    windows = measured.sets[row].ids.tolist()
    if row == "real":
        assert sorted(windows) == sorted(once(data.validation))
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

    size = measured.facts["samples for Self-BLEU"]
    assert size == min(10, measured.facts["equal sizes"]), "there is one validation tune"
    own = []
    for first in range(0, len(windows) - size + 1, size):
        few = [events_of(window, tokenizer) for window in windows[first : first + size]]
        own += [sentence_bleu(few[:i] + few[i + 1 :], one, (0.25,) * 4, smooth) for i, one in enumerate(few) if one]
    assert found["self_bleu_4"] == pytest.approx(mean(own), abs=1e-12)
    equal = measured.facts["equal sizes"]
    few = [events_of(windows[i * len(windows) // equal], tokenizer) for i in range(equal)]
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
    found = evaluate({"same": one}, one).rows["same"]
    assert [found[f"bleu_{n}"] for n in (2, 3, 4, 5)] == pytest.approx([1.0] * 4)
    assert found["mse_nearest"] == 0
    assert found["mse_pairs"] > 0


def test_self_bleu_and_unique_are_taken_over_equally_many(tiny_run):
    ids, start = tiny_run.dataset.train[:10]
    rows = [i // 2 for i in range(20)]  # each twice in a row, of which evenly spaced ones are each once
    sets = {"many": MelodySet.of(tiny_run.tokenizer.melodies(ids[rows], start[rows]))}
    sets["few"] = MelodySet.of(tiny_run.tokenizer.melodies(ids[:10], start[:10]))
    rows = evaluate(sets, sets["few"]).rows
    assert rows["many"]["unique"] == rows["few"]["unique"]
    for name in ("distinct_2", "edit_distance", "reverse_nll", "frechet", "overlap_area"):
        assert rows["many"][name] == pytest.approx(rows["few"][name], rel=1e-12), name
    assert evaluate(sets, sets["few"], equal_sizes=20).rows["many"]["unique"] < rows["many"]["unique"]


def test_a_row_is_the_mean_of_its_scores(measured):
    for row, scores in measured.scores.items():
        size = measured.facts["samples"][row]
        for name, values in scores.items():
            assert values.shape == (size,), name
            assert measured.rows[row][name] == pytest.approx(np.nanmean(values), rel=1e-12)
        assert {"bleu_4", "self_bleu_4", "mse_nearest", "copied_8", "longest_copy", "bars_back"} <= set(scores)
        own, group = np.isfinite(scores["self_bleu_4"]).sum(), measured.facts["samples for Self-BLEU"]
        assert size - group < own <= size
    assert "scores" not in measured.to_dict()


def test_copies_of_training_windows_are_found_and_new_music_is_not(tiny_run):
    data, tokenizer = tiny_run.dataset, tiny_run.tokenizer
    training = MelodySet.of(tokenizer.melodies(*data.train[:])).events
    copied = MelodySet.of(tokenizer.melodies(*data.train[::40]))
    events = event_codes([[1, 2, 3, 4, 5, 6, 7, 8, 9]], 1)  # lower than any tune
    new = MelodySet.of_events(as_sequences(events), 16, np.array([[2, 4]]), 4)
    rows = evaluate({"copied": copied, "new": new}, copied, training=training).rows
    assert rows["copied"]["copied_4"] == rows["copied"]["copied_8"] == 1
    assert rows["copied"]["longest_copy"] == copied.events.lengths.mean()
    assert [rows["new"][name] for name in ("copied_4", "copied_8", "longest_copy", "longest_copy_max")] == [0] * 4
    assert "copied_4" not in evaluate({"new": new}, copied).rows["new"], "nothing was looked for"


def test_bars_that_come_back_are_tokens_that_come_back():
    tokenizer = GridTokenizer(low=60, high=72, metres=[[2, 4], [3, 8]])
    rng = np.random.default_rng(0)
    windows, starts, expected = [], [], []
    for metre in [(2, 4), (3, 8)] * 20:
        start = tokenizer.start_ids[metre]
        width = tokenizer.bar_tokens(start, 1)
        kinds = rng.integers(0, 4, (5, width))  # rest, hold, two pitches
        kinds[:, 0] = rng.integers(2, 5, 5)
        bars = [tuple(kinds[i].tolist()) for i in rng.integers(0, 5, 48 // width)]
        windows.append([token for bar in bars for token in bar])
        starts.append(start)
        expected.append(mean([bar in bars[:i] for i, bar in enumerate(bars)][1:]))
    found = MelodySet.of_tokens(tokenizer, torch.tensor(windows), torch.tensor(starts))
    scores = evaluate({"made": found}, found).scores["made"]["bars_back"]
    assert 0.3 < mean(expected) < 0.9
    np.testing.assert_allclose(scores, expected)


def test_what_is_compared_with_itself_has_no_distance(tiny_run):
    one = MelodySet.of_tokens(tiny_run.tokenizer, *tiny_run.dataset.train[:60])
    found = evaluate({"same": one}, one).rows["same"]
    assert found["frechet"] == pytest.approx(0, abs=1e-6)
    assert found["overlap_area"] > 0.95
    assert found["kl_divergence"] < 0.03


def test_references_have_a_fingerprint(measured, tiny_run, few_tunes):
    sha = measured.facts["references_sha256"]
    assert evaluate_run(tiny_run, samples=8, seed=5).facts["references_sha256"] == sha
    assert evaluate_run(tiny_run, samples=8, against=few_tunes).facts["references_sha256"] != sha
    ids, start = tiny_run.dataset.test[:5]
    one = MelodySet.of_tokens(tiny_run.tokenizer, ids, start)
    assert len(one.digest()) == 64
    assert MelodySet.of_tokens(tiny_run.tokenizer, ids, start).digest() == one.digest()
    note = next(column for column in range(16) if ids[2, column] > 2)
    ids[2, note] -= 1
    assert MelodySet.of_tokens(tiny_run.tokenizer, ids, start).digest() != one.digest()


def test_the_facts_say_what_the_numbers_depend_on(measured, tiny_run):
    facts = measured.facts
    assert facts["run"] == str(tiny_run.directory)
    assert facts["against"] == "the run's test tunes"
    assert {"python", "torch", "numpy", "seqgan-music"} <= set(facts["versions"])
    assert "method 1" in facts["BLEU"]
    assert "0.1" in facts["BLEU"]
    assert facts["samples"]["mle"] == facts["samples"]["Markov-1"] == facts["samples"]["uniform"] == 24
    assert facts["equal sizes"] == min(facts["samples"].values())
    assert facts["seed"] == 0


def test_samples_have_the_metres_of_real_music(measured):
    """And the made-up anchors too: what differs from the row *real* is not how many waltzes there are."""
    real = Counter(measured.sets["real"].start.tolist())
    for row in ("mle", "best", "uniform"):
        drawn = Counter(measured.sets[row].start.tolist())
        for token in {*real, *drawn}:
            assert drawn[token] / 24 == pytest.approx(real[token] / real.total(), abs=1 / 24)
    assert (measured.sets["Markov-1"].bar == measured.sets["uniform"].bar).all()


def test_windows_of_one_tune_are_kept_apart():
    """Three tunes of 4, 2 and 3 windows, of which one comes twice."""
    ids = torch.arange(9)[:, None].expand(9, 3).clone()
    ids[3] = ids[0]
    windows = Windows(ids, torch.zeros(9, dtype=torch.int64), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2]))
    rows = tunes_by_turns(windows)[0][:, 0].tolist()
    tunes = windows.piece[rows].tolist()
    assert sorted(rows) == [0, 1, 2, 4, 5, 6, 7, 8]
    assert [sorted(tunes[i : i + 3]) for i in (0, 3)] == [[0, 1, 2]] * 2
    assert sorted(tunes[6:]) == [0, 2]
    assert rows != sorted(rows)


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
    assert set(values["metrics"]) == set(measured.metrics) > set(METRICS)
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
    rows = evaluate(sets, references).rows
    assert rows["half"]["mse_nearest"] == 0
    assert math.isnan(rows["none"]["mse_nearest"])
    assert rows["none"]["unique"] == 0.5
    assert math.isnan(rows["over"]["bleu_4"])


def test_figures_of_a_case_worked_out_by_hand():
    tokenizer = GridTokenizer(low=60, high=72)
    c, d, e, hold = 2, 4, 6, 1
    references = MelodySet.of(tokenizer.melodies(torch.tensor([[c, hold, d, hold], [e, hold, hold, hold]])))
    sample = MelodySet.of(tokenizer.melodies(torch.tensor([[c, hold, e, hold]])))
    found = evaluate({"sample": sample}, references).rows["sample"]
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
    assert all(set(values) == set(found.metrics) for values in found.rows.values())
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
