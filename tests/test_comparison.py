import csv
import dataclasses
import io
import json
import math
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from seqgan_music_cli.main import main

import seqgan_music
from seqgan_music import config, evaluation, measurements
from seqgan_music.comparison import MAIN, compare, configuration_names, output
from seqgan_music.comparison.statistics import holm
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import Evaluation, evaluate_run
from seqgan_music.evaluation.windows import without_repeats
from seqgan_music.export import export
from seqgan_music.group import Group
from seqgan_music.metrics import METRICS
from seqgan_music.run import Run

STAGES = ["mle", "adversarial", "best"]
SAMPLES = 24


def call(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def groups(tiny_corpus, tiny_run, tmp_path_factory):
    """Two finished groups, of three and of two seeds, that differ in one setting; to be read, and measured."""
    folder = tmp_path_factory.mktemp("groups")
    for name, rounds, seeds in [("one round", 1, [1, 2, 3]), ("two rounds", 2, [1, 2])]:
        settings = config.merge(tiny_run.settings, {"algorithm": {"rounds": rounds}})
        Group.create(tiny_corpus, settings, folder / name, seeds).train(evaluate=False, pages=False)
    return folder / "one round", folder / "two rounds"


@pytest.fixture(scope="module")
def compared(groups):
    return compare(groups, samples=SAMPLES, device="cpu")


def test_runs_of_equal_settings_are_put_together_and_named_by_what_differs(compared):
    assert [one.name for one in compared.configurations] == ["rounds=1", "rounds=2"]
    assert [list(one.runs) for one in compared.configurations] == [[1, 2, 3], [1, 2]]
    assert list(compared.rows) == [f"rounds={n}@{stage}" for n in (1, 2) for stage in STAGES]
    assert set(compared.metrics) <= set(MAIN)
    assert {"bleu_4", "mse_nearest", "mse_pairs", "self_bleu_4", "nll"} <= set(compared.metrics)


def test_the_figures_are_those_of_an_evaluation(compared, groups):
    for number in (1, 2, 3):
        plain = evaluate_run(Run(groups[0] / f"seed-{number}"), samples=SAMPLES, device="cpu")
        for stage in STAGES:
            row = compared.rows[f"rounds=1@{stage}"]
            for name, value in plain.rows[stage].items():
                np.testing.assert_equal(row.values[name][number - 1], value)
                if name in row.distances:
                    np.testing.assert_equal(row.distances[name][number - 1], abs(value - plain.rows["real"][name]))
    assert "nll" not in compared.rows["rounds=1@mle"].distances
    pooled = compared.rows["rounds=1@mle"].scores["bleu_4"]
    assert len(pooled) == 3 * SAMPLES
    assert pooled[:SAMPLES].mean() == pytest.approx(compared.rows["rounds=1@mle"].values["bleu_4"][0])


def test_every_test_is_scipy_s_on_these_numbers(compared):
    checked = set()
    for test in compared.tests:
        a, b = compared.rows[test.row], compared.rows[test.baseline]
        if test.kind == "samples":
            mine, theirs = (one.scores[test.metric] for one in (a, b))
        else:
            mine, theirs = ((one.distances if test.of == "distance" else one.values)[test.metric] for one in (a, b))
        mine, theirs = mine[np.isfinite(mine)], theirs[np.isfinite(theirs)]
        if test.kind == "paired":
            assert a.configuration == b.configuration
            if np.ptp(mine - theirs) == 0:
                assert math.isnan(test.result.p)
                continue
            expected = stats.ttest_rel(mine, theirs)
        else:
            if np.ptp(mine) == np.ptp(theirs) == 0:
                assert math.isnan(test.result.p)
                continue
            expected = stats.ttest_ind(mine, theirs, equal_var=False)
        assert test.result.p == pytest.approx(expected.pvalue)
        assert test.result.difference == pytest.approx(mine.mean() - theirs.mean())
        checked.add((test.kind, test.of))
    assert checked == set(output.TESTS)
    for family in checked:
        members = [test for test in compared.tests if (test.kind, test.of) == family]
        corrected = holm([test.result.p for test in members])
        np.testing.assert_array_equal([test.p_holm for test in members], corrected)


def pairs(comparison):
    return list(dict.fromkeys((test.row, test.baseline) for test in comparison.tests))


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (None, "1a:1m 1b:1m 2a:2m 2b:2m 2m:1m 2a:1a 2b:1b"),
        ("rounds=2", "1a:1m 1b:1m 2a:2m 2b:2m 1m:2m 1a:2a 1b:2b"),
        ("two rounds", "1a:1m 1b:1m 2a:2m 2b:2m 1m:2m 1a:2a 1b:2b"),
        ("seed-2", "1a:1m 1b:1m 2a:2m 2b:2m 1m:2m 1a:2a 1b:2b"),
        ("adversarial", "1m:1a 1b:1a 2m:2a 2b:2a"),
        ("rounds=1@mle", "1a:1m 1b:1m 2m:1m 2a:1m 2b:1m"),
    ],
)
def test_the_baseline_says_what_is_tested_against_what(groups, baseline, expected):
    paths = list(groups)
    if baseline == "two rounds":
        baseline = str(groups[1])
    elif baseline == "seed-2":
        paths = [*groups, groups[1] / "seed-2"]
        baseline = str(paths[-1])
    found = compare(paths, baseline=baseline, metrics=["bleu_4"], samples=SAMPLES, device="cpu")
    short = [":".join(row[7] + row[9] for row in pair) for pair in pairs(found)]
    assert " ".join(short) == expected
    assert sum(len(one.runs) for one in found.configurations) == 5, "a run that is named twice counts once"


def test_a_configuration_that_differs_in_much_is_called_by_its_directory(groups, tiny_experiment, tmp_path):
    changes = {"batch_size": 16, "policy_learning_rate": 1e-3, "discriminator_learning_rate": 2e-3}
    list(tiny_experiment(tmp_path / "mine", run={"seed": 4}, algorithm={**changes, "rounds": 1}))
    found = compare([groups[0], tmp_path / "mine"], samples=SAMPLES, device="cpu", baseline="mine", metrics=["bleu_4"])
    assert [one.name for one in found.configurations] == ["one round", "mine"]
    assert ("one round@mle", "mine@mle") in pairs(found)
    text = output.markdown(found).partition("## Runs")[2]
    (line,) = [line for line in text.splitlines() if line.startswith("- mine (")]
    assert "policy_learning_rate=0.001" in line
    assert line.endswith(f"): {tmp_path / 'mine'}")
    assert output.to_dict(found)["configurations"]["mine"]["runs"] == {"4": str(tmp_path / "mine")}


def test_rows_of_one_configuration_are_called_by_their_stage(groups):
    twice = ["mse_pairs", "unique", "mse_pairs"]  # which is not to enlarge the family
    found = compare(groups[:1], samples=SAMPLES, device="cpu", metrics=twice)
    assert list(found.rows) == STAGES
    assert pairs(found) == [("adversarial", "mle"), ("best", "mle")]
    assert found.metrics == ["mse_pairs", "unique"]
    assert {test.metric for test in found.tests} == {"mse_pairs", "unique"}
    assert [one.name for one in found.configurations] == ["seqgan"]
    assert "3 seeds; a claim should rest on 5" in found.notes[0]


def test_a_single_run_is_compared_without_tests_over_seeds(groups):
    found = compare([groups[0] / "seed-2"], samples=SAMPLES, device="cpu")
    assert all(math.isnan(test.result.p) for test in found.tests if test.kind != "samples")
    assert any(math.isfinite(test.p_holm) for test in found.tests if test.kind == "samples")
    assert "no test over seeds" in found.notes[0]
    text = output.markdown(found)
    assert "±" not in text.partition("Every cell")[0]


def test_what_was_measured_is_not_measured_again_until_something_changes(own_run, monkeypatch):
    run = Run(own_run)
    first = measurements.of(run, samples=SAMPLES, device="cpu")

    def again(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(measurements, "evaluate_run", again)
    found = measurements.of(Run(own_run), samples=SAMPLES, device="cpu")
    assert found.rows.keys() == first.rows.keys()
    for row, values in first.rows.items():
        np.testing.assert_equal(found.rows[row], values)
        assert found.scores[row].keys() == first.scores[row].keys()
        for name, scores in first.scores[row].items():
            np.testing.assert_array_equal(found.scores[row][name], scores)
    assert found.facts == json.loads(json.dumps(first.facts))
    changes = [{"samples": SAMPLES + 1}, {"seed": 1}]
    for change in changes:
        with pytest.raises(AssertionError, match="measured again"):
            measurements.of(run, **{"samples": SAMPLES, "device": "cpu", **change})
    shutil.copytree(own_run / "checkpoints" / "mle", own_run / "checkpoints" / "best", dirs_exist_ok=True)
    with pytest.raises(AssertionError, match="measured again"):
        measurements.of(Run(own_run), samples=SAMPLES, device="cpu")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nonsense", None])
def test_a_damaged_file_of_measurements_is_measured_anew(own_run, damage):
    first = measurements.of(Run(own_run), samples=SAMPLES, device="cpu")
    content = (own_run / "scores.npz").read_bytes()
    (own_run / "scores.npz").write_bytes(content[: len(content) // 2] if damage is None else damage)
    found = measurements.of(Run(own_run), samples=SAMPLES, device="cpu")
    np.testing.assert_equal(found.rows, first.rows)
    assert (own_run / "scores.npz").read_bytes()[:2] == b"PK"


def test_what_training_has_measured_is_not_measured_again(tiny_corpus, tiny_settings, tmp_path, monkeypatch):
    group = Group.create(tiny_corpus, tiny_settings, tmp_path / "group", [1])
    group.train(pages=False)
    monkeypatch.setattr(measurements, "evaluate_run", None)
    assert list(compare([tmp_path / "group"]).rows) == STAGES


def test_a_stage_at_a_temperature_is_one_more_row(own_run):
    first = compare([own_run], samples=SAMPLES, device="cpu", temperatures=[("mle", 0.5)])
    assert list(first.rows) == [*STAGES, "mle at 0.5"]
    run = Run(own_run)
    one = evaluation.draw(run, SAMPLES, seed=0, stage="mle", temperature=0.5, device="cpu")
    test = evaluation.MelodySet.of_tokens(run.tokenizer, *without_repeats(run.dataset.test))
    alone = evaluation.evaluate({"mle at 0.5": one}, test).rows["mle at 0.5"]
    for name in ("bleu_4", "mse_nearest", "mse_pairs"):
        assert first.rows["mle at 0.5"].values[name] == alone[name]
    with pytest.raises(UsageError, match=r"best temperature of mle is not known .* --temperatures"):
        compare([own_run], samples=SAMPLES, device="cpu", temperatures=[("mle", None)])
    facts = {"best_temperature": {"mle": 0.5}}
    (own_run / "temperatures.json").write_text(json.dumps({"rows": [], "real": {}, "facts": facts}))
    best = compare([own_run], samples=SAMPLES, device="cpu", temperatures=[("mle", None)], baseline="mle at best")
    assert pairs(best) == [(stage, "mle at best") for stage in STAGES]
    np.testing.assert_equal(best.rows["mle at best"].values, first.rows["mle at 0.5"].values)
    assert f"mle at best: 0.5 ({own_run})" in best.notes


def test_what_cannot_be_compared_is_refused(groups, tiny_run, tiny_experiment, tmp_path, tiny_corpus):
    def refused(*paths, says, **options):
        with pytest.raises(UsageError, match=says):
            compare(paths, samples=SAMPLES, device="cpu", **options)

    first = groups[0] / "seed-1"
    list(tiny_experiment(tmp_path / "long", data={"length": 24}))
    refused(first, tmp_path / "long", says="long cannot be compared .*seed-1.*: windows of 24 tokens, not 16")
    list(tiny_experiment(tmp_path / "split", data={"split_seed": 3}))
    refused(first, tmp_path / "split", says="data.split_seed=3, not 0")
    fewer = dataclasses.replace(
        tiny_corpus, pieces=tiny_corpus.pieces[:9], names=tiny_corpus.names[:9], digest="another"
    )
    list(tiny_experiment(tmp_path / "corpus", source=fewer))
    refused(first, tmp_path / "corpus", says="another corpus: ")
    shutil.copytree(first, tmp_path / "copy")
    refused(first, tmp_path / "copy", says="equal settings and the same seed, 1: they are one training")
    export(Run(first), tmp_path / "small")
    refused(tmp_path / "small", says="is an exported run")
    refused(tmp_path / "nothing", says="is not a run")
    refused(first, says="unknown metric 'blue'; there are: bleu_2", metrics=["blue"])
    refused(*groups, says="no baseline 'rounds=3'; there are: rounds=1; rounds=2; mle; ", baseline="rounds=3")
    refused(first, says="temperature", temperatures=[("mle", -1.0)])
    part = iter(tiny_experiment(tmp_path / "part"))
    next(part), next(part), next(part)
    refused(tmp_path / "part", says="is not trained to its end; go on with: seqgan-music train --resume")


def test_runs_of_a_group_that_are_not_trained_are_left_out_and_said(tiny_corpus, tiny_settings, tmp_path):
    group = Group.create(tiny_corpus, tiny_settings, tmp_path / "group", [1, 2, 3])
    with pytest.raises(UsageError, match=r"no run to compare\. Left out"):
        compare([group.directory])
    list(group.experiment(1))
    training = iter(group.experiment(2))
    for _ in range(5):  # one round of two
        next(training)
    found = compare([group.directory], samples=SAMPLES, device="cpu")
    assert list(found.configurations[0].runs) == [1]
    assert "seed-2, seed-3 of" in found.notes[0]
    assert "train --resume" in found.notes[0]


def test_a_start_from_other_weights_is_another_configuration(tiny_corpus, tiny_run, tiny_settings, tmp_path):
    tiny_settings["run"]["seed"] = 5
    seqgan_music.train(
        tiny_corpus,
        settings=tiny_settings,
        preset="quick",
        directory=tmp_path / "a",
        init=tiny_run,
        evaluate=False,
        pages=False,
    )
    found = compare([tiny_run.directory, tmp_path / "a"], samples=SAMPLES, device="cpu", metrics=["bleu_4"])
    first, second = (one.name for one in found.configurations)
    assert first == "seqgan"
    assert second.startswith("weights=a tiny run (best, ")


@pytest.mark.parametrize(
    ("identities", "names"),
    [
        ([{("algorithm", "name"): "seqgan", ("a", "b"): 1}], ["seqgan"]),
        ([{("a", "x"): 1, ("b", "x"): 1}, {("a", "x"): 2, ("b", "x"): 2}], ["a.x=1, b.x=1", "a.x=2, b.x=2"]),
        (
            [
                {("algorithm", "name"): "mle", ("algorithm", "epochs"): 3},
                {("algorithm", "name"): "seqgan", ("algorithm", "rounds"): 1},
                {("algorithm", "name"): "seqgan", ("algorithm", "rounds"): 2},
            ],
            ["algorithm=mle", "algorithm=seqgan, rounds=1", "algorithm=seqgan, rounds=2"],
        ),
        ([{("algorithm", "name"): "mle"}, {("algorithm", "name"): "mle", ("o", "t"): 0.5}], ["mle", "t=0.5"]),
        (
            [{("d", "filters"): [[n, 100] for n in range(start, 20)]} for start in (1, 2)],
            ["filters=[[1, 100], [2, 100], [3, 100], [4, 100]…", "filters=[[2, 100], [3, 100], [4, 100], [5, 100]…"],
        ),
        ([{("a", "t"): "x" * 50 + end} for end in "yz"], [f"t={'x' * 39}…", f"t={'x' * 39}… (2)"]),
    ],
)
def test_names_say_what_differs_and_are_all_different(identities, names):
    assert configuration_names(identities) == names


def synthetic(tmp_path, monkeypatch, groups, values):
    """A comparison in which the figures of each run and stage are given."""
    real = {name: 0.5 if METRICS[name].target == "equal to real" else math.nan for name in ("bleu_4", "nll")}

    def measured(run, **_):
        rounds = run.settings["algorithm"]["rounds"]
        rows = {
            stage: dict(zip(("bleu_4", "nll"), values[rounds, stage][run.settings["run"]["seed"] - 1], strict=True))
            for stage in STAGES
        }
        anchors = dict.fromkeys(evaluation.ANCHORS, real)
        return Evaluation({**rows, **anchors}, {}, {row: {} for row in rows})

    monkeypatch.setattr(measurements, "of", measured)
    return compare(groups)


def test_nearer_to_real_is_not_the_same_as_higher(tmp_path, monkeypatch, groups):
    values = {(n, stage): [(0.3, 1.0), (0.32, 1.1), (0.31, 1.3)] for n in (1, 2) for stage in STAGES}
    values[1, "adversarial"] = [(0.6, 1.0), (0.61, 1.3), (0.63, 1.4)]  # from 0.19 below real to 0.11 above it
    values[1, "best"] = [(0.7, 1.0), (0.68, 1.1), (0.69, 1.3)]  # to as far above real
    found = synthetic(tmp_path, monkeypatch, groups[:1], values)
    by = {(test.row, test.metric, test.kind, test.of): test.result for test in found.tests}
    assert by["adversarial", "bleu_4", "seeds", "value"].difference == pytest.approx(0.3033, abs=1e-4)
    assert by["adversarial", "bleu_4", "seeds", "distance"].difference == pytest.approx(-0.0767, abs=1e-4)
    assert by["adversarial", "bleu_4", "seeds", "distance"].p < 0.01
    assert by["best", "bleu_4", "seeds", "value"].p < 1e-4
    assert by["best", "bleu_4", "seeds", "distance"].p > 0.9
    assert ("adversarial", "nll", "seeds", "distance") not in by
    text = output.markdown(found)
    assert "| 0.3100 ± 0.0100 |" in text
    line = next(line for line in text.partition("## adversarial")[2].splitlines() if line.startswith("| BLEU-4"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:5] == ["BLEU-4", "+0.3033", "0.1900", "0.1133", "nearer"]


def test_the_files_hold_every_point(compared, tmp_path):
    paths = output.write(compared, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["compare.md", "compare.csv", "compare.json", "compare.png"]
    lines = list(csv.DictReader(io.StringIO(paths[1].read_text("utf-8"))))
    for label, row in compared.rows.items():
        for name, values in row.values.items():
            mine = [
                line
                for line in lines
                if (line["configuration"], line["stage"], line["metric"]) == (*label.split("@"), name)
            ]
            assert [int(line["seed"]) for line in mine] == row.seeds
            np.testing.assert_array_equal([float(line["value"] or "nan") for line in mine], values)
    assert {line["stage"] for line in lines if not line["configuration"]} == set(evaluation.ANCHORS)
    values = json.loads(paths[2].read_text("utf-8"), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    summary = values["rows"]["rounds=1@best"]["metrics"]["bleu_4"]
    assert summary["mean"] == pytest.approx(np.mean(summary["values"]))
    assert summary["spread"] == pytest.approx(np.std(summary["values"], ddof=1))
    assert summary["distance"] == pytest.approx(np.mean(summary["distances"]))
    assert len(values["tests"]) == len(compared.tests)
    assert {"p", "p_holm", "low", "high", "t", "df", "n", "test", "of"} <= set(values["tests"][0])
    text = paths[0].read_text("utf-8")
    assert text.count("\n## ") == len(pairs(compared)) + 2
    for one in compared.configurations:
        for run in one.runs.values():
            assert str(run.directory) in text
    import matplotlib.image

    assert matplotlib.image.imread(paths[3]).shape[0] > 200


def test_two_groups_from_the_command_line(groups, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["compare", *groups, "-n", SAMPLES, "--device", "cpu"]
    code, out, err = call(*words, "-m", "bleu_4", "--baseline", "rounds=1@mle")
    assert code == 0, err
    assert "## rounds=2@best against rounds=1@mle" in out
    assert (tmp_path / "compare" / "compare.md").read_text("utf-8") in out
    assert "measuring" not in err, "all of it was measured by the tests before"
    code, out, err = call(*words, "-m", "bleu_4", "--json", "-o", "elsewhere", "--temperature", "best=0.7")
    values = json.loads(out)
    assert code == 0
    assert err.count("measuring ") == 5
    assert "rounds=2@best at 0.7" in values["rows"]
    assert values == json.loads((tmp_path / "elsewhere" / "compare.json").read_text("utf-8"))
    shutil.copytree(groups[0], tmp_path / "group")
    assert call("compare", "group", "-n", SAMPLES, "--device", "cpu")[0] == 0
    assert (tmp_path / "group" / "compare.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "Missing argument"),
        (["nowhere"], 2, "'nowhere' is not a run"),
        (["{run}", "--temperature", "mle"], 2, "write it as mle=0.9"),
        (["{run}", "--temperature", "worst=1"], 2, "names no stage"),
        (["{run}", "-n", "1"], 2, "samples"),
        (["{run}", "-m", "blue"], 2, "unknown metric 'blue'"),
        (["{run}", "--baseline", "blue"], 2, "no baseline 'blue'; there are: seqgan; mle; adversarial; best"),
        (["{run}", "-o", "file/folder"], 1, "cannot make the folder file/folder"),
    ],
)
def test_misuse_is_one_line(words, code, says, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    found, out, err = call("compare", *(word.format(run=tiny_run.directory) for word in words))
    assert (found, out) == (code, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
