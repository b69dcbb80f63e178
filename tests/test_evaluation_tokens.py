"""A run of tokens that are no music, measured: against NLTK, NumPy and plain loops, and by the commands."""

import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from seqgan_music_cli.main import main

import seqgan_music
from seqgan_music import losses, measurements, report
from seqgan_music.comparison import compare
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import Closeness, closeness, evaluate_run, temperatures
from seqgan_music.evaluation.dump import dump
from seqgan_music.evaluation.tokens import TokenSet, evaluate
from seqgan_music.evaluation.validation import TokenCloseness
from seqgan_music.group import Group
from seqgan_music.html_report import pages
from seqgan_music.metrics import METRICS, TOKEN_METRICS, TOKEN_TABLES
from seqgan_music.metrics.sequences import as_sequences
from seqgan_music.run import Run
from seqgan_music.token_file import from_sequences, read_tokens
from seqgan_music.tokenizers.plain import PlainTokens

ROWS = ["mle", "adversarial", "best", "real", "Markov-1", "Markov-2", "uniform"]
SAMPLES = 20


def sentences(n, seed=0):
    """Different lines of 3 to 8 words, in which some words follow others more often."""
    rng = np.random.default_rng(seed)
    words = np.array(["the", "a", "cat", "dog", "bird", "sees", "hears", "big", "small"])
    follow = rng.dirichlet(np.full(len(words), 0.4), len(words))
    lines = {}
    while len(lines) < n:
        line = [int(rng.integers(len(words)))]
        while len(line) < 3 or (len(line) < 8 and rng.random() < 0.8):
            line.append(int(rng.choice(len(words), p=follow[line[-1]])))
        lines[" ".join(words[line])] = None
    return list(lines)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text("\n".join(sentences(200)) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def settings(tiny_run):
    """Those of the tiny run, but for what makes them music."""
    return {name: tiny_run.settings[name] for name in ("run", "generator", "discriminator", "algorithm")}


@pytest.fixture(scope="module")
def of_words(text, settings, tmp_path_factory):
    """A run of lines of different lengths; to be read, not changed."""
    return trained(read_tokens(text), settings, tmp_path_factory.mktemp("runs") / "words")


@pytest.fixture(scope="module")
def of_integers(settings, tmp_path_factory):
    """A run of equally long rows that begin from an ordinary token: there is neither END nor PAD, nor a START."""
    rng = np.random.default_rng(1)
    rows = from_sequences(np.cumsum(rng.choice(3, (120, 6), p=[0.2, 0.5, 0.3]), 1) % 7)
    tokenizer = {"name": "tokens", "start": 0, "size": 7}
    return trained(rows, {**settings, "tokenizer": tokenizer}, tmp_path_factory.mktemp("runs") / "integers")


def trained(source, settings, directory):
    return seqgan_music.train(source, preset="tokens", settings=settings, directory=directory, evaluate=False)


@pytest.fixture(scope="module")
def measured(of_words):
    return evaluate_run(of_words, samples=SAMPLES, device="cpu")


def rows_of(run, part):
    """Ids up to END, read one by one."""
    tokenizer, found = run.tokenizer, []
    for row in getattr(run.dataset, part).ids.tolist():
        cut = [place for place, token in enumerate(row) if token in (tokenizer.end_id, tokenizer.pad_id)]
        found.append(row[: cut[0]] if cut else row)
    return found


def bleu(sample, references, n):
    return sentence_bleu(references, sample, [1 / n] * n, SmoothingFunction().method1)


def mean(values):
    return sum(values) / len(values)


def test_rows_end_before_end_and_pad():
    tokenizer = PlainTokens(size=4, ends=True)
    ids = torch.tensor([[1, 2, 3, 4, 5], [4, 5, 5, 5, 5], [0, 1, 2, 3, 0], [1, 5, 5, 5, 5]])
    assert TokenSet.of_tokens(tokenizer, ids).events.to_lists() == [[1, 2, 3], [], [0, 1, 2, 3, 0], [1]]
    endless = TokenSet.of_tokens(PlainTokens(size=9, start=0), ids)
    assert endless.events.to_lists() == ids.tolist()


def test_equal_sequences_have_equal_digests_whatever_fills_them_up():
    one = TokenSet(as_sequences([[1, 2], [3]]), 4)
    padded = TokenSet.of_tokens(PlainTokens(size=4, ends=True), torch.tensor([[1, 2, 4, 5], [3, 4, 5, 5]]))
    assert padded.digest() == one.digest()
    assert TokenSet(as_sequences([[1], [2, 3]]), 4).digest() != one.digest()


def test_every_row_has_every_column(measured):
    assert list(measured.rows) == ROWS
    for row, values in measured.rows.items():
        assert set(values) == set(measured.metrics) == set(TOKEN_METRICS), row
        assert all(math.isfinite(value) for name, value in values.items() if name != "nll"), row
    with_likelihood = [row for row in ROWS if math.isfinite(measured.rows[row]["nll"])]
    assert with_likelihood == ["mle", "adversarial", "best", "uniform"]
    assert set().union(*TOKEN_TABLES.values()) == set(TOKEN_METRICS) < set(METRICS)


@pytest.mark.parametrize("row", ["mle", "adversarial", "real"])
def test_figures_equal_those_of_nltk_and_of_plain_loops(measured, of_words, row):
    samples = measured.sets[row].events.to_lists()
    assert len(samples) == (20 if row == "real" else SAMPLES) == measured.facts["samples for Self-BLEU"]
    references = rows_of(of_words, "test")
    values = measured.rows[row]
    others = [samples[:i] + samples[i + 1 :] for i in range(len(samples))]
    for n in (2, 3, 4, 5):
        expected = mean([bleu(sample, references, n) for sample in samples if sample])
        assert values[f"bleu_{n}"] == pytest.approx(expected, abs=1e-12)
        expected = mean([bleu(sample, rest, n) for sample, rest in zip(samples, others, strict=True) if sample])
        assert values[f"self_bleu_{n}"] == pytest.approx(expected, abs=1e-12)
    empty = sum(not sample for sample in samples)
    assert measured.facts["empty, and left out of BLEU"].get(row, 0) == empty
    pairs = [pair for sample in samples for pair in pairwise(sample)]
    assert values["unique"] == pytest.approx(len(set(map(tuple, samples))) / len(samples))
    assert values["distinct_2"] == pytest.approx(len(set(pairs)) / len(pairs))
    known = {tuple(line[i : i + 4]) for line in rows_of(of_words, "train") for i in range(len(line) - 3)}
    grams = [[tuple(sample[i : i + 4]) for i in range(len(sample) - 3)] for sample in samples]
    shares = [mean([gram in known for gram in one]) for one in grams if one]
    assert values["copied_4"] == pytest.approx(mean(shares))


def test_real_is_the_validation_part_and_references_are_the_test_part(measured, of_words):
    assert sorted(measured.sets["real"].events.to_lists()) == sorted(rows_of(of_words, "validation"))
    assert sorted(measured.references.events.to_lists()) == sorted(rows_of(of_words, "test"))


def nats(run, temperature=1.0):
    """Mean negative log-likelihood of the test part, from the network's scores."""
    test, total, count = run.dataset.test, 0.0, 0
    with torch.no_grad():
        logits = run.generator("mle", "cpu")(*test[slice(None)]).double().numpy() / temperature
    for scores, row in zip(logits, test.ids.numpy(), strict=True):
        for score, token in zip(scores, row, strict=True):
            if token != run.dataset.pad_id:  # END counts
                total -= score[token] - np.log(np.exp(score - score.max()).sum()) - score.max()
                count += 1
    return total / count


@pytest.mark.parametrize("which", ["of_words", "of_integers"])
@pytest.mark.parametrize("at_once", [40, 2**20])
def test_likelihood_is_that_of_the_softmax_of_the_networks_scores(which, at_once, request, monkeypatch):
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", at_once)  # a wide vocabulary is taken in pieces
    run = request.getfixturevalue(which)
    assert evaluate_run(run, samples=4, device="cpu").rows["mle"]["nll"] == pytest.approx(nats(run), rel=1e-5)
    curve = temperatures.measure(run, [0.5], stages=["mle"], samples=4, device="cpu").points["mle"]
    assert curve[0.5]["nll"] == pytest.approx(nats(run, 0.5), rel=1e-5)


def test_noise_is_every_token_that_may_be_drawn_and_its_likelihood_is_that_of_its_draws(
    measured, of_words, of_integers
):
    words = len(of_words.tokenizer.words)
    assert measured.rows["uniform"]["nll"] == pytest.approx(math.log(words + 1)), "END is one of them"
    drawn = measured.sets["uniform"].events
    assert set(drawn.tokens[drawn.valid].tolist()) <= set(range(words))
    found = evaluate_run(of_integers, samples=50, device="cpu")
    assert found.rows["uniform"]["nll"] == pytest.approx(math.log(7))
    drawn = found.sets["uniform"].events
    assert set(drawn.tokens.ravel().tolist()) == set(range(7)), "the token that rows begin from is an ordinary one"
    assert set(drawn.lengths.tolist()) == {6}


def test_chains_say_what_follows_in_the_training_part_and_nothing_else(of_words, of_integers):
    for run in (of_words, of_integers):
        found = evaluate_run(run, samples=30, device="cpu")
        lines = rows_of(run, "train")
        for order in (1, 2):
            known = {tuple(line[i : i + order + 1]) for line in lines for i in range(len(line) - order)}
            chain = found.sets[f"Markov-{order}"].events.to_lists()
            assert {tuple(line[i : i + order + 1]) for line in chain for i in range(len(line) - order)} <= known
            assert {len(line) for line in chain} == {6} if run is of_integers else max(map(len, chain)) <= 9
        assert found.rows["Markov-1"]["copied_4"] < 1, "or it says no more than the training part"


def test_the_same_seed_gives_the_same_figures_and_another_does_not(measured, of_words):
    assert evaluate_run(of_words, samples=SAMPLES, device="cpu").rows["mle"] == measured.rows["mle"]
    assert evaluate_run(of_words, samples=SAMPLES, seed=1, device="cpu").rows["mle"] != measured.rows["mle"]


def test_sets_are_measured_within_groups_of_equal_size():
    rng = np.random.default_rng(0)
    sets = {name: TokenSet(as_sequences(rng.integers(0, 5, (size, 6))), 5) for name, size in [("a", 25), ("b", 10)]}
    found = evaluate(sets, sets["b"])
    assert found.rows["b"]["bleu_4"] == 1
    own = found.scores["a"]["self_bleu_4"]
    assert np.isnan(own[20:]).all(), "too few for a third group"
    assert not np.isnan(own[:20]).any()
    lines = sets["a"].events.to_lists()
    assert own[13] == pytest.approx(bleu(lines[13], lines[10:13] + lines[14:20], 4))
    assert "copied_4" not in found.rows["a"], "there is nothing to copy from"


def test_closeness_on_the_validation_part_is_that_of_nltk(of_words, of_integers):
    for run in (of_words, of_integers):
        near = closeness(run.dataset, run.tokenizer, seed=0)
        assert isinstance(near, TokenCloseness)
        assert near.size == len(run.dataset.train), "every row stands for itself"
        drawn = run.sample(near.size, stage="mle", start=near.start, device="cpu")
        found = near.measure(*drawn)
        assert set(found) == {*near.FIGURES, near.EDIT_DISTANCE, "distance_validation"}
        samples = TokenSet.of_tokens(run.tokenizer, *drawn).events.to_lists()
        references = rows_of(run, "validation")
        scores = [bleu(sample, references, 4) for sample in samples if sample]
        assert found["bleu_4_validation"] == pytest.approx(mean(scores))
        lines = rows_of(run, "train")
        assert near.target["bleu_4_validation"] == pytest.approx(mean([bleu(line, references, 4) for line in lines]))
        others = [bleu(lines[i], lines[:i] + lines[i + 1 :], 4) for i in range(len(lines))]
        assert near.target["self_bleu_4_validation"] == pytest.approx(mean(others))
        distance = sum(abs(found[name] - near.target[name]) for name in near.FIGURES)
        assert found["distance_validation"] == pytest.approx(distance)


def test_a_training_is_measured_by_it_and_keeps_the_nearest_round(of_words):
    lines = [json.loads(line) for line in (of_words.directory / "metrics.jsonl").read_text("utf-8").splitlines()]
    rounds = [line for line in lines if line["phase"] == "adversarial"]
    assert all(set(TokenCloseness.FIGURES) < set(line) and not set(Closeness.FIGURES) < set(line) for line in rounds)
    near = closeness(of_words.dataset, of_words.tokenizer, of_words.settings["run"]["seed"])
    facts = json.loads((of_words.directory / "run.json").read_text("utf-8"))
    assert facts["real"] == pytest.approx(near.target)
    seed = of_words.settings["run"]["seed"]
    again = near.of_generator(of_words.generator("best", "cpu"), of_words.dataset, seed)
    assert again["distance_validation"] == pytest.approx(min(line["distance_validation"] for line in rounds))


def test_a_tokenizer_that_does_not_say_is_one_of_music(tiny_run):
    class Silent:
        def __getattr__(self, name):
            if name == "musical":
                raise AttributeError(name)
            return getattr(tiny_run.tokenizer, name)

    near = closeness(tiny_run.dataset, Silent(), seed=0)
    assert type(near) is Closeness
    assert near.target == closeness(tiny_run.dataset, tiny_run.tokenizer, seed=0).target


def test_other_sequences_of_the_same_words(measured, of_words, tmp_path):
    path = tmp_path / "others.txt"
    path.write_text("\n".join(sentences(40, seed=5)) + "\n", "utf-8")
    found = of_words.evaluate(samples=SAMPLES, device="cpu", against=path)
    assert found.facts["against"] == str(path)
    assert found.facts["references"] == 40
    words = of_words.tokenizer.words
    said = [" ".join(words[token] for token in row) for row in found.references.events.to_lists()]
    assert said == path.read_text("utf-8").splitlines()
    assert found.rows["mle"]["self_bleu_4"] == measured.rows["mle"]["self_bleu_4"]
    assert found.rows["mle"]["bleu_4"] != measured.rows["mle"]["bleu_4"]
    assert found.rows["mle"]["nll"] != measured.rows["mle"]["nll"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("the zebra sees\na cat\nthe dog\n", "the word 'zebra' in line 1"),
        ("a cat sees\n\n" + "dog " * 30 + "\nthe dog hears\n", "30 tokens in line 3, but .* at most 8"),
        ("1 2 3\n4 5 6\n7 8 9\n", "integers"),
    ],
)
def test_sequences_that_the_run_cannot_say_are_refused(of_words, tmp_path, content, says):
    path = tmp_path / "others.txt"
    path.write_text(content, "utf-8")
    with pytest.raises(UsageError, match=says):
        of_words.evaluate(samples=4, device="cpu", against=path)


def test_rows_that_do_not_fill_an_endless_sequence_and_folders_are_refused(of_integers, tmp_path):
    path = tmp_path / "others.txt"
    path.write_text("1 2 3 4 5 6\n0 1 2\n3 3 3 3 3 3\n", "utf-8")
    with pytest.raises(UsageError, match="3 tokens in line 2, but sequences of this run have 6"):
        of_integers.evaluate(samples=4, device="cpu", against=path)
    with pytest.raises(UsageError, match=r"is a folder.*token file"):
        of_integers.evaluate(samples=4, device="cpu", against=tmp_path)


def test_an_archive_of_every_set(measured, of_words, tmp_path):
    written = dump(measured, of_words, tmp_path)
    assert {path.stem for path in written} == {*ROWS, "references", "windows", "README"}
    with np.load(tmp_path / "mle.npz") as found:
        tokens = found["tokens"]
        assert [row[row >= 0].tolist() for row in tokens] == measured.sets["mle"].events.to_lists()
        assert np.nanmean(found["bleu_4"]) == pytest.approx(measured.rows["mle"]["bleu_4"])
    about = json.loads((tmp_path / "README.json").read_text("utf-8"))
    assert about["tokenizer"]["words"] == list(of_words.tokenizer.words)
    for name, arrays in about["files"].items():
        with np.load(tmp_path / name) as found:
            assert set(arrays) == set(found.files)
    number = of_words.dataset.test.piece[0].item()
    assert about["tunes"][str(number)] == f"line {number + 1}"
    assert "steps_per_quarter" not in about


def test_measurements_are_kept_and_groups_compared(text, settings, tmp_path):
    algorithm = {**settings["algorithm"], "generator_epochs": 1, "rounds": 1}
    own = {**settings, "algorithm": algorithm, "tokenizer": {"name": "tokens"}}
    Group.create(read_tokens(text), own, tmp_path / "group", [1, 2]).train(evaluate=False, pages=False)
    called = []
    how = {"samples": 8, "device": "cpu", "on_measuring": called.append}
    found = compare([tmp_path / "group"], temperatures=[("mle", 0.5)], **how)
    assert list(found.rows) == ["mle", "adversarial", "best", "mle at 0.5"]
    assert found.metrics == ["bleu_4", "self_bleu_4", "copied_8", "nll"]
    alone = evaluate_run(Run(tmp_path / "group" / "seed-2"), samples=8, device="cpu")
    assert found.rows["mle"].values["bleu_4"][1] == alone.rows["mle"]["bleu_4"]
    assert len(called) == 2
    compare([tmp_path / "group"], temperatures=[("mle", 0.5)], **how)
    assert len(called) == 2, "measured once"
    kept = measurements.of(Run(tmp_path / "group" / "seed-2"), samples=8, device="cpu")
    assert kept.metrics == TOKEN_METRICS
    with pytest.raises(UsageError, match=r"unknown metric 'mse_pairs'; there are: bleu_2.*longest_copy_max$"):
        compare([tmp_path / "group"], metrics=["mse_pairs"], **how)


def test_runs_of_an_algorithm_whose_records_no_option_counts_are_compared(of_words, text, settings, tmp_path):
    own = {**settings, "algorithm": {"name": "random"}}
    drawn = seqgan_music.train(read_tokens(text), settings=own, directory=tmp_path / "random", evaluate=False)
    found = compare([of_words.directory, drawn.directory], samples=8, device="cpu")
    assert [row.stage for row in found.rows.values()] == ["mle", "adversarial", "best", "random"]


def test_runs_of_other_sequences_and_of_music_are_not_compared(of_words, of_integers, tiny_run):
    for other in (of_integers, tiny_run):
        with pytest.raises(UsageError, match="cannot be compared"):
            compare([of_words.directory, other.directory], samples=4, device="cpu")


def test_pages_of_melodies_are_refused(of_words):
    with pytest.raises(UsageError, match=r"no music.*seqgan-music evaluate"):
        pages.write(of_words)


def call(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def own_words(of_words, tmp_path):
    """A copy of the run, to be written to."""
    return shutil.copytree(of_words.directory, tmp_path / "own words")


def test_the_command_prints_tables_and_keeps_them(own_words):
    code, out, err = call("evaluate", own_words, "-n", SAMPLES, "--explain")
    assert (code, err) == (0, "")
    assert "Like held-out sequences?" in out
    assert "20 reference sequences" in out
    for word in ("tune", "note", "semitone", "music", "Objective", "undefined"):
        assert word not in out, word
    lines = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")]
    assert [line for line in lines if line in ROWS] == 3 * ROWS
    kept = json.loads((own_words / "report.json").read_text("utf-8"))
    code, out, err = call("evaluate", own_words, "-n", SAMPLES, "--json")
    assert (code, err, json.loads(out)) == (0, "", kept)
    assert set(kept["metrics"]) == set(TOKEN_METRICS)
    assert kept["objectives"] == []
    assert kept["rows"]["real"]["nll"] is None


def test_a_training_ends_with_the_figures_that_there_are(measured):
    first = report.summary(measured).splitlines()[0]
    assert [cell.strip() for cell in first.split("|")[2:-1]] == ["BLEU-4", "Self-BLEU-4", "unique", "copied-8", "NLL"]


def test_temperature_curves(own_words):
    code, out, err = call("evaluate", own_words, "-n", SAMPLES, "--temperatures", "0.3,2", "--stage", "mle")
    assert (code, err) == (0, "")
    lines = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")]
    assert [line.removesuffix(", its best") for line in lines if line][1:4] == ["mle at 0.3", "mle at 1", "mle at 2"]
    values = json.loads((own_words / "temperatures.json").read_text("utf-8"))
    assert "validation sequences" in values["facts"]["best temperature"]
    assert set(values["metrics"]) == set(TOKEN_METRICS)
    points = {point["temperature"]: point for point in values["rows"]}
    assert points[0.3]["self_bleu_4"] > points[2.0]["self_bleu_4"]
    assert points[0.3]["nll"] != points[1.0]["nll"]
    plain = evaluate_run(Run(own_words), samples=SAMPLES, device="cpu").rows["mle"]
    assert {name: points[1.0][name] for name in plain} == plain
    assert (own_words / "temperatures.png").read_bytes().startswith(b"\x89PNG")
    assert (own_words / "temperatures.csv").read_text("utf-8").startswith("stage,temperature,bleu_2")


def test_a_single_validation_sequence_has_no_self_bleu_and_no_distance(settings, tmp_path):
    few = from_sequences([[token, token + 1, token + 2] for token in range(9)])
    run = trained(few, {**settings, "algorithm": {"name": "random"}}, tmp_path / "run")
    assert len(run.dataset.validation) == 1
    code, out, err = call("evaluate", run.directory, "-n", 4, "--temperatures", "0.5")
    assert (code, err) == (0, "")
    assert "No distance of the curves to real" in out
    assert "nan" not in out
    assert "is nearer" not in out


def test_options_of_music_and_pages_are_refused_in_one_line(own_words, few_tunes):
    for words, says in [
        (("evaluate", own_words, "--track", "2"), "leave out track"),
        (("evaluate", own_words, "--against", few_tunes), "is a folder"),
        (("evaluate", own_words, "--against", own_words / "nothing.txt"), "No such file"),
        (("evaluate", own_words, "--temperatures", "1", "--stage", "random"), "no stage 'random'"),
    ]:
        code, out, err = call(*words)
        assert (code, out) == (2, ""), words
        assert says in err
        assert len(err.strip().splitlines()) == 1, err
