import base64
import collections
import dataclasses
import html.parser
import io
import json
import math
import re
import shlex

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from seqgan_music_cli.main import main

import seqgan_music
from seqgan_music import html_report, midi, run_directory
from seqgan_music.errors import Failure, SeqganMusicWarning, UsageError
from seqgan_music.export import export
from seqgan_music.html_report import contents, curves, excerpts
from seqgan_music.notes import Note, Piece
from seqgan_music.run import Run
from seqgan_music.sound import Synthesizer

VOID = {"meta", "link", "input", "br", "img", "path", "rect", "use"}
HOSTILE = "<script>alert(1)</script>.mid"


class Page(html.parser.HTMLParser):
    """Elements of a page as (name, attributes, text within), in their order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        element = [tag, dict(attrs), ""]
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop()[0] == tag

    def handle_data(self, data):
        for element in self._open:
            element[2] += data

    def all(self, tag, **attributes):
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [e for e in self.elements if e[0] == tag and wanted.items() <= e[1].items()]


def decoded(address):
    return base64.b64decode(address.partition("base64,")[2])


def pages(run, **options):
    written = html_report.write(Run(run.directory if hasattr(run, "directory") else run), **options)
    return [Page(file.read_text("utf-8")) for file in (written.report, written.listening) if file is not None]


@pytest.fixture(scope="module")
def finished(tiny_run):
    """The pages that a training leaves."""
    return [Page((tiny_run.directory / name).read_text("utf-8")) for name in ("report.html", "listen.html")]


def test_a_training_leaves_both_pages(tiny_run, finished):
    assert tiny_run.pages.report == tiny_run.directory / "report.html"
    assert tiny_run.pages.listening == tiny_run.directory / "listen.html"
    report, listen = finished
    assert report.all("h1")[0][2] == tiny_run.directory.name
    assert [title[2] for title in report.all("h3")] == ["Real tunes", "After pre-training", "Best adversarial round"]
    windows = {tuple(ids) for ids in tiny_run.dataset.test.ids.tolist()}
    shown, heard = len(report.all("audio")), len(listen.all("audio"))
    assert shown + heard == 3 * min(len(windows), 10), "as many as there are, if those are few"
    assert 0 < heard <= shown + 3
    assert len(listen.all("fieldset")) == heard


def test_pages_fetch_nothing_have_unique_ids_and_a_name_for_every_control(finished):
    for page in finished:
        addresses = [e[1][name] for e in page.elements for name in ("src", "href") if name in e[1]]
        assert all(re.match(r"data:|#|listen\.html$", address) for address in addresses)
        ids = [e[1]["id"] for e in page.elements if "id" in e[1]]
        assert len(ids) == len(set(ids))
        assert {e[1]["href"][1:] for e in page.all("a") if e[1]["href"].startswith("#")} <= set(ids)
        assert {e[1]["popovertarget"] for e in page.all("button") if "popovertarget" in e[1]} <= set(ids)
        assert all(e[1].get("aria-label") or e[2].strip() for e in page.all("button"))
        labels = [e[2] for e in page.all("label")]
        named = [e for e in page.all("input") if "aria-label" in e[1]]
        assert len(named) + len(labels) == len(page.all("input"))
        assert page.all("html")[0][1]["lang"] == "en"


def test_the_same_run_gives_the_same_bytes_and_another_seed_other_melodies(own_run):
    def written(**options):
        html_report.write(Run(own_run), samples=1, listening=1, **options)
        return [(own_run / name).read_bytes() for name in ("report.html", "listen.html")]

    first = written()
    assert written() == first
    assert written(seed=1)[1] != first[1]


def test_a_melody_to_download_is_what_generate_writes_and_the_sound_is_its_own(tiny_run, finished):
    report, _ = finished
    downloads = [e[1] for e in report.all("a") if e[1].get("download", "").endswith(".mid")]
    shown = len(downloads) // 3
    for stage, links in (("mle", downloads[shown : 2 * shown]), ("best", downloads[2 * shown :])):
        pieces = tiny_run.generate(shown, stage=stage)
        assert [decoded(link["href"]) for link in links] == [midi.encode(piece) for piece in pieces]
        assert [link["download"] for link in links] == [f"{stage}-sample-{n + 1:02}.mid" for n in range(shown)]
    for audio in report.all("audio"):
        assert audio[1]["src"].startswith("data:audio/mpeg;base64,")
    piece = tiny_run.generate(shown, stage="best")[0]
    samples, rate = soundfile.read(io.BytesIO(decoded(report.all("audio")[2 * shown][1]["src"])))
    assert samples.ndim == 1
    seconds = piece.end / piece.resolution * 60 / piece.tempo
    assert seconds - 0.1 <= len(samples) / rate < seconds + 3
    assert 0.03 < np.sqrt(np.square(samples).mean()) < 0.3


def test_packing_leaves_low_tones_and_nothing_folds_back():
    time = np.arange(44_100) / 44_100
    power = {}
    for tone in (440, 21_000):  # the second is above what half the rate can say
        wave = np.round(20_000 * np.sin(2 * np.pi * tone * time)).astype(np.int16)
        samples, rate = soundfile.read(io.BytesIO(excerpts.packed(np.stack([wave, wave], 1))))
        assert rate == 22_050
        power[tone] = np.abs(np.fft.rfft(samples[:rate]))
        assert power[tone].argmax() == pytest.approx(440, abs=2) or tone != 440
    assert power[21_000].max() < power[440].max() / 100


def test_real_melodies_are_windows_of_the_test_tunes_each_tune_before_any_comes_again(tiny_run):
    windows = tiny_run.dataset.test
    rows = [
        tiny_run.tokenizer.decode([int(start), *ids.tolist()]).notes
        for ids, start in zip(windows.ids, windows.start, strict=True)
    ]
    names = tiny_run.facts["corpus"]["split"]["test"]
    drawn = excerpts.real(tiny_run, len(windows), np.random.default_rng(0))
    assert {hash(notes) for notes in rows} == {hash(melody.piece.notes) for melody in drawn}
    assert len({hash((melody.piece.notes, melody.piece.metre)) for melody in drawn}) == len(drawn) < len(windows)
    first = [melody.piece.title for melody in drawn[: len(names)]]
    assert sorted(first) == sorted(name.removesuffix(".mid") for name in names)
    numbers = list(dict.fromkeys(windows.piece.tolist()))
    for melody in drawn:
        number = numbers[names.index(f"{melody.piece.title}.mid")]
        which, _, of = melody.remark.removeprefix("window ").partition(" of ")
        mine = (windows.piece == number).nonzero().flatten().tolist()
        assert len(mine) == int(of)
        assert rows[mine[int(which) - 1]] == melody.piece.notes


def test_no_melody_is_in_both_pages_and_no_two_stages_share_their_draws(tiny_run, finished):
    report, listen = finished
    sounds = [[e[1]["src"] for e in page.all("audio")] for page in (report, listen)]
    test = json.loads(listen.all("script", type="application/json")[0][2])
    key = json.loads(base64.b64decode(test["key"]))
    counts = collections.Counter(piece["source"] for piece in key)
    assert len(set(counts.values())) == 1
    assert set(counts) == {"real", "mle", "best"} == set(test["sources"])
    assert not set(sounds[0]) & set(sounds[1])
    assert len(set(sounds[1])) == len(sounds[1])
    orders = [piece["source"] for piece in key]
    assert orders != sorted(orders, key=test["sources"].index), "they are shuffled"


def test_the_listening_test_shows_nothing_of_what_is_what(finished):
    _, listen = finished
    test = json.loads(listen.all("script", type="application/json")[0][2])
    key = json.loads(base64.b64decode(test["key"]))
    shown = " ".join(e[2] for e in listen.elements if e[0] in {"li", "legend", "label"}) + " ".join(
        value for e in listen.elements for name, value in e[1].items() if value and name not in {"src", "content"}
    )
    for piece in key:
        assert piece["title"] not in shown
    assert not re.search(r"\bmle\b|\bbest\b|sample \d", shown)


def test_titles_and_names_are_text_and_nothing_else(own_run):
    facts = json.loads((own_run / "run.json").read_text("utf-8"))
    split = facts["corpus"]["split"]
    split["test"] = [f"{number}{HOSTILE}" for number in range(len(split["test"]))]
    facts["corpus"]["root"] = "/home/somebody/tunes & <b>'s"
    (own_run / "run.json").write_text(json.dumps(facts), "utf-8")
    hostile = own_run.rename(own_run.with_name("<img src=x onerror=alert(2)>"))
    report, listen = pages(Run(hostile), samples=1, listening=1)
    assert HOSTILE.removesuffix(".mid") in report.all("h4")[0][2]
    assert report.all("h1")[0][2] == hostile.name
    for page in (report, listen):
        scripts = [e for e in page.all("script") if e[1].get("type") != "application/json"]
        assert len(scripts) == 1
        assert "alert(" not in scripts[0][2]
        assert not page.all("img")
        assert not page.all("b")
    (link,) = [e[1] for e in report.all("a") if e[1].get("download", "").startswith("real-")]
    assert "/" not in link["download"]
    (command,) = [e[2] for e in report.all("code") if "train" in e[2]]
    assert shlex.split(command)[3] == "./tunes & <b>'s"
    assert "/home/somebody" not in (hostile / "report.html").read_text("utf-8")


def test_the_command_of_the_page_repeats_the_run(tiny_run, few_tunes, finished, tmp_path, monkeypatch):
    report, _ = finished
    (command,) = [e[2] for e in report.all("code") if "seqgan-music train" in e[2]]
    words = shlex.split(command)
    assert words[0] == "OMP_NUM_THREADS=1"
    (link,) = report.all("a", download="config.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / few_tunes.name).symlink_to(few_tunes, target_is_directory=True)
    (tmp_path / "config.toml").write_bytes(decoded(link[1]["href"]))
    done = CliRunner().invoke(main, words[2:])
    assert done.exit_code == 0, done.output
    assert f"report: {tmp_path.name}" not in done.stdout
    assert "report: again/report.html" in done.stdout
    logs = [
        [{**line, "seconds": 0} for line in run_directory.read_log(where)]
        for where in (tiny_run.directory, tmp_path / "again")
    ]
    assert logs[0] == logs[1]
    digests = [e[2] for e in report.all("dd") if re.fullmatch(r"[0-9a-f]{64}", e[2])][-2:]
    corpus = Run(tmp_path / "again").facts["corpus"]
    assert digests == [corpus["digest"], corpus["windows_digest"]]


def test_the_command_names_the_run_it_started_from(tiny_run, few_tunes, tmp_path):
    run = seqgan_music.train(
        few_tunes,
        init=tiny_run,
        algorithm="mle",
        preset="quick",
        settings={"algorithm": {"epochs": 1}, "run": {"device": "cpu"}},
        directory=tmp_path / "from another",
        evaluate=False,
    )
    words = shlex.split(contents.command(run))
    assert words[2:4] == ["train", f"./{few_tunes.name}"]
    assert words[words.index("--init") + 1] == f"./{tiny_run.directory.name}"
    (report, listen) = pages(run, samples=1, listening=1)
    assert [title[2] for title in report.all("h3")] == ["Real tunes", "After pre-training"]
    assert len(listen.all("audio")) == 2
    assert any(tiny_run.directory.name in e[2] for e in report.all("dd"))
    assert "seqgan-music evaluate" in "".join(e[2] for e in report.all("code"))


def test_curves_cover_every_figure_of_the_log_with_its_phases(tiny_run):
    lines = run_directory.read_log(tiny_run.directory)
    figures = curves.learning(
        [*lines, {**lines[-1], "phase": "polish", "step": 1, "flair": 3.0, "reward_tonality": 0.5}]
    )
    titles = [figure.title for figure in figures]
    assert {"flair", "Parts of the reward", "Entropy of the policy, nats per token"} <= set(titles)
    covered = {name for panel in curves.PANELS for name in (*panel.names, panel.band)} | set(curves.BLANK)
    assert {name for line in lines for name in line} <= covered | set(titles)
    for figure in curves.learning(lines):
        for phase in ("likelihood", "discriminator", "adversarial"):
            assert f">{phase}</text>" in figure.svg
        assert not re.search(r"#0[123]0[01]", figure.svg), "every colour is one of the page"
        assert not re.search(r"<(metadata|style|script)|\son\w+=", figure.svg)


def test_a_curve_has_its_points_where_the_values_are():
    lines = [{"phase": "mle", "step": n, "of": 4, "nll_validation": value} for n, value in enumerate([4, 2, 1, 1], 1)]
    (figure,) = curves.learning(lines)
    marks = [
        (float(x), float(y)) for x, y in re.findall(r'<use x="([\d.]+)" y="([\d.]+)"[^>]*var\(--line-0\)', figure.svg)
    ]
    assert len(marks) == 4
    x, y = np.array(marks).T
    assert np.allclose(np.diff(x), np.diff(x)[0])
    assert (y[1] - y[0]) == pytest.approx(2 * (y[2] - y[1]))
    assert y[3] == y[2] > y[0], "downwards is less"


def test_the_discriminators_loss_stands_beside_what_guessing_costs():
    lines = [{"phase": "discriminator", "step": n, "of": 2, "d_loss": value} for n, value in enumerate((0.6, 0.5), 1)]
    notes = {guessing: curves.learning(lines, guessing)[0].note for guessing in (math.log(2), 0.0, None)}
    assert notes == {math.log(2): "0.693, the line, is what guessing costs.",
                     0.0: "0, the line, is what guessing costs.", None: ""}  # fmt: skip


def test_a_page_names_the_code_that_a_repetition_needs(tiny_experiment, tmp_path):
    (tmp_path / "mine.py").write_text("def tonality(piece):\n    return 0.5\n")
    mine = f"{tmp_path / 'mine.py'}:tonality"
    wanted = {f"{mine}~0.3": 1.0, "tonality": 1.0}
    list(tiny_experiment(tmp_path / "run", objectives=wanted, reward={"lambda": 0.5}, algorithm={"rollouts": 0}))
    run = Run(tmp_path / "run")
    html_report.write(run, samples=1, listening=0)
    report = Page((run.directory / "report.html").read_text("utf-8"))
    (said,) = [e[2] for e in report.all("p") if "code of its author's own" in e[2]]
    assert str(tmp_path / "mine.py") in said
    assert "~0.3" not in said
    captions = " ".join(e[2] for e in report.all("figcaption"))
    assert f"Real music, the line: {run.facts['real']['edit_distance']:.3f}." in captions
    assert "Mean over the finished sequences of the last policy step." in captions
    assert contents.own_code(run) == [str(tmp_path / "mine.py")]


def test_a_page_of_a_run_without_own_code_names_none(finished, tiny_run):
    assert contents.own_code(tiny_run) == []
    assert "code of its author's own" not in "".join(e[2] for e in finished[0].all("p"))


def test_panels_of_objectives_with_one_title_are_told_apart():
    lines = [
        {"phase": "adversarial", "step": 1, "of": 1, "objective_a": 0.5, "objective_./b.py:a": 0.2, "reward_a": 0.1}
    ]
    told = {text: {"title": "a", "real": 0.4, "noise": 0.1} for text in ("a", "./b.py:a")}
    figures = {figure.title: figure.note for figure in curves.learning(lines, objectives=told)}
    assert {"Objective: a (a)", "Objective: a (./b.py:a)"} <= set(figures)
    assert figures["Parts of the reward"] == "Mean over the roll-outs of the last policy step."


def test_names_in_a_curve_are_text(tiny_run):
    name = "reward_./<b>$x$.py:_O&"
    lines = [{"phase": "adversarial", "step": n, "of": 2, name: 0.5, "reward_b": 0.2} for n in (1, 2)]
    (figure,) = curves.learning(lines)
    assert "reward_./&lt;b&gt;$x$.py:_O&amp;</text>" in figure.svg


@pytest.mark.parametrize(
    ("values", "target", "best"),
    [
        ({"mle": 0.61, "best": 0.64, "real": 0.50, "Markov-1": 0.50}, "equal to real", "mle"),
        ({"mle": 0.41, "best": 0.46, "real": 0.50}, "equal to real", "best"),
        ({"mle": 0.41, "best": 0.41, "real": 0.50}, "equal to real", None),
        ({"mle": 0.41, "best": float("nan"), "real": 0.50}, "equal to real", None),
        ({"mle": 0.41, "best": 0.46, "real": float("nan")}, "equal to real", None),
        ({"mle": 1.2, "best": 1.1}, "lower", "best"),
        ({"mle": 1.2, "best": 1.1}, "higher", "mle"),
        ({"mle": 1.2, "best": 1.1}, "", None),
    ],
)
def test_the_stage_nearest_to_the_target_is_told(values, target, best):
    assert contents.nearest(values, target) == best


def test_measurements_stand_in_the_page_as_in_the_file(tiny_run, finished):
    found = json.loads((tiny_run.directory / "report.json").read_text("utf-8"))["rows"]
    table = contents.measurements(tiny_run)
    assert table.heads == ["mle", "adversarial", "best", "real", "Markov-1", "Markov-2", "uniform"]
    every = {row.name: row for row in [*table.rows, *table.others]}
    absent = {name for name in found["mle"] if name not in every}
    assert absent | set(every) == {name for values in found.values() for name in values}
    assert all(name.startswith("undefined_") and not any(of[name] for of in found.values()) for name in absent)
    for head, (cell, _) in zip(table.heads, every["bleu_4"].cells, strict=True):
        assert float(cell) == pytest.approx(found[head]["bleu_4"], abs=5e-4)
    assert every["nll"].cells[table.heads.index("real")][0] == "–"
    report, _ = finished
    terms = [e[2] for e in report.all("button", class_="term")]
    assert len(terms) == len(every)
    assert "BLEU-4" in terms


def test_temperatures_are_shown_where_they_were_measured(own_run):
    report = pages(own_run, samples=1, listening=0)[0]
    assert f"evaluate {shlex.quote(str(own_run))} --temperatures default" in "".join(e[2] for e in report.all("code"))
    point = {"bleu_4": 0.5, "self_bleu_4": 0.6, "unique": None}
    rows = [
        {"stage": stage, "temperature": at, **point, "bleu_4": 0.5 + at / 10}
        for stage in ("mle", "best")
        for at in (0.75, 1)
    ]
    table = {"rows": rows, "real": point, "facts": {"best_temperature": {"mle": 0.75}}}
    (own_run / "temperatures.json").write_text(json.dumps(table), "utf-8")
    report = pages(own_run, samples=1, listening=0)[0]
    (figure,) = [e for e in report.all("figure") if "Quality against diversity" in e[2]]
    assert figure[2].count("0.75") == 2
    assert {"mle", "best", "real"} <= set(figure[2].split())
    assert any("0.75 for mle" in e[2] for e in report.all("p"))
    assert "--temperatures" not in "".join(e[2] for e in report.all("code"))


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("report.json", "{", "cannot be read"),
        ("report.json", "[1]", "is not what seqgan-music writes; make it anew with: seqgan-music evaluate"),
        ("report.json", '{"rows": {"mle": {"bleu_4": "high"}}, "facts": {}, "metrics": {}}', "is not what"),
        (
            "temperatures.json",
            '{"rows": [{}], "real": {}, "facts": {}}',
            "make it anew with: .* --temperatures default",
        ),
        ("metrics.jsonl", "nonsense\n", "is damaged"),
    ],
)
def test_a_damaged_file_is_named_and_the_old_page_stays(own_run, file, content, says):
    before = (own_run / "report.html").read_bytes()
    (own_run / file).write_text(content, "utf-8")
    with pytest.raises(Failure, match=f"{re.escape(str(own_run / file))} .*{says}|{file} is damaged"):
        html_report.write(Run(own_run))
    assert (own_run / "report.html").read_bytes() == before


def test_an_unfinished_run_has_a_page_without_melodies(tiny_experiment, tmp_path):
    for number, _ in enumerate(tiny_experiment(tmp_path / "run")):
        if number == 0:
            break
    written = html_report.write(Run(tmp_path / "run"))
    assert written.listening is None
    report = Page(written.report.read_text("utf-8"))
    assert not report.all("audio")
    assert f"seqgan-music train --resume {tmp_path / 'run'}" in [e[2] for e in report.all("code")]
    assert len(report.all("figure")) == 2, "the likelihood's loss and validation"


def test_an_exported_run_is_refused(tiny_run, tmp_path):
    export(tiny_run, tmp_path / "small")
    done = CliRunner().invoke(main, ["report", str(tmp_path / "small")])
    assert done.exit_code == 2
    assert "is an exported run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(UsageError, match="1 melody"):
        html_report.write(tiny_run, samples=0)


def test_a_training_does_not_fail_by_its_report(own_run, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("no ink")

    monkeypatch.setattr(html_report, "write", broken)
    (own_run / "report.json").unlink()
    run = Run(own_run)
    with pytest.warns(SeqganMusicWarning, match="the report could not be made: no ink; try again with: seqgan-music"):
        assert run.finish() is not None
    assert run.pages is None
    assert (own_run / "report.json").is_file()


def test_a_warning_of_ours_is_one_line_of_the_command(own_run, monkeypatch):
    monkeypatch.setattr(html_report, "write", lambda *_, **__: 1 / 0)
    done = CliRunner().invoke(main, ["train", "--resume", str(own_run), "--no-evaluate"])
    assert done.exit_code == 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert line.startswith("warning: the report could not be made: division by zero")
    assert "report:" not in done.stdout


def test_the_command_says_where_the_pages_are(own_run):
    done = CliRunner().invoke(main, ["report", str(own_run), "-n", "1", "--listening", "0"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"report: {own_run / 'report.html'}\n"
    assert done.stderr.startswith("sound: ")
    report = Page((own_run / "report.html").read_text("utf-8"))
    assert not [e for e in report.all("a") if "listen" in e[1]["href"][:20]]
    done = CliRunner().invoke(main, ["report", str(own_run / "nowhere")])
    assert done.exit_code == 2
    assert "is not a run" in done.stderr


def test_a_long_piece_is_cut_and_a_silent_one_is_shown():
    long = Piece([Note(480 * i, 960, 60 + i % 12) for i in range(200)], title="long")
    melodies = [excerpts.Melody("real", long), excerpts.Melody("mle", Piece([], title="silent"))]
    synthesizer = Synthesizer()
    synthesizer.complaint = "this test is to be quick"
    first, second = excerpts.play(melodies, synthesizer)
    assert first.cut
    assert first.piece.end == 480 * 2 * excerpts.LONGEST
    assert list(first.piece.notes)[:50] == list(long.notes)[:50]
    samples, rate = soundfile.read(io.BytesIO(first.sound))
    assert excerpts.LONGEST - 0.2 < len(samples) / rate < excerpts.LONGEST + 1
    assert not second.cut
    low, high = excerpts.compass([first.piece, second.piece])
    assert (low, high) == (60, 71)
    assert excerpts.roll(second.piece, low, high).words == "no notes"


def test_a_piano_roll_has_its_notes_and_lines_where_they_are():
    piece = Piece([Note(0, 480, 60), Note(480, 240, 72), Note(1440, 480, 64)], metre=(3, 4), tempo=90)
    roll = excerpts.roll(piece, 58, 73)
    assert [(x, y) for x, _, y, _ in roll.notes] == [(0, 13), (1, 1), (3, 9)]
    assert [length for _, length, _, _ in roll.notes] == pytest.approx([0.94, 0.44, 0.94])
    assert (roll.beats, roll.height) == (4, 16)
    assert roll.seconds == pytest.approx(4 * 60 / 90)
    assert roll.bars == [3]
    assert roll.octaves == [14, 2], "the lower edges of C4 and C5"
    assert roll.words == "3 notes from C4 to C5"


def test_without_mp3_the_sound_is_wav(monkeypatch):
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "WAV"})
    excerpt = excerpts.Excerpt("mle", Piece([]), False, "", excerpts.packed(np.zeros(4410, np.int16)))
    assert excerpt.sound_address.startswith("data:audio/wav;base64,UklG")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, "the discriminator alone"),
        ({"loss": {"name": "lsgan"}}, "the discriminator (loss lsgan) alone"),
        ({"objectives": {"tonality": 1.0}, "algorithm": {"name": "mle"}}, "none: by likelihood alone"),
        (
            {"objectives": {"tonality": 0.5}, "reward": {"lambda": 0.25}},
            "λ = 0.25 of the discriminator; tonality 0.5",
        ),
        (
            {"objectives": {"note_density~0.3": 1.0}, "reward": {"lambda": 0.0}},
            "objectives alone (naive reinforcement learning); note_density~0.3 1",
        ),
        (
            {"objectives": {"tonality": 1.0}, "reward": {"lambda": 1.0}},
            "the discriminator alone; measured beside it: tonality",
        ),
        (
            {
                "objectives": {"tonality": 1.0, "cadence>=0.4": 2.0},
                "algorithm": {"rounds": 12},
                "reward": {
                    "lambda_schedule": [[0, 1.0], [10, 0.5]],
                    "programme": [[3, ["tonality"]], [2, ["cadence>=0.4"]]],
                    "rescale": "batch",
                    "uniqueness": True,
                },
            },
            "λ of the discriminator: 1 in round 1, 0.5 in round 11, in a straight line between; tonality 1, "
            "cadence>=0.4 2; in turn: tonality for 3 rounds, then cadence>=0.4 from then on; objectives stretched to "
            "[0, 1] within each batch; times the share of different melodies in the batch, divided by a melody's "
            "copies there",
        ),
    ],
)
def test_settings_of_the_reward_are_told(tiny_experiment, tmp_path, sections, said):
    tiny_experiment(tmp_path / "run", **sections)
    told = dict(contents.summary(Run(tmp_path / "run"), []))
    assert told["Reward"] == said
    assert told["Training"].startswith("0 records")


def test_objectives_have_curves_beside_real_music():
    lines = [
        {
            "phase": "adversarial",
            "step": n,
            "of": 2,
            "reward_tonality": 0.2,
            "objective_tonality": 0.1 * n,
            "undefined_tonality": 0.0,
            "objective_./own.py:low": None if n == 1 else 0.5,
            "undefined_./own.py:low": 1.0 if n == 1 else 0.25,
        }
        for n in (1, 2)
    ]
    facts = {"tonality": {"title": "tonality", "real": 0.05, "noise": 0.047, "undefined": 0.0}}
    found = {figure.title: figure for figure in curves.learning(lines, objectives=facts)}
    assert list(found) == [
        "Parts of the reward",
        "Objective: ./own.py:low",
        "Objective: tonality",
        "Share of samples of which an objective is undefined",
    ]
    assert found["Objective: tonality"].note == "Mean of fresh samples. Real music, the line: 0.050. Noise: 0.047."
    assert "stroke-dasharray" in found["Objective: tonality"].svg
    assert found["Objective: ./own.py:low"].note == "Mean of fresh samples."
    assert "stroke-dasharray" not in found["Objective: ./own.py:low"].svg
    share = found["Share of samples of which an objective is undefined"].svg
    assert "tonality" not in share, "of which none is undefined"


def test_a_run_without_a_discriminator_has_no_empty_panel(tiny_experiment, tmp_path):
    list(tiny_experiment(tmp_path / "run", objectives={"tonality": 1.0}, reward={"lambda": 0.0}))
    (report,) = pages(tmp_path / "run", samples=1, listening=0)
    captions = [e[2] for e in report.all("figcaption")]
    assert any(caption.startswith("Objective: tonality") for caption in captions)
    assert any(caption.startswith("Reward of finished sequences") for caption in captions)
    assert not any("iscriminator" in caption for caption in captions)
    assert not any("kept as best" in caption for caption in captions), "a steered run keeps none"
    assert "discriminator" not in "".join(e[2] for e in report.all("svg"))


def test_the_table_shows_the_objectives_of_the_run(own_run):
    values = {"bleu_4": 0.5, "objective_cadence": 0.25, "objective_tonality": 0.5, "unique": 1.0}
    rows = {
        "mle": values | {"undefined_tonality": 0.0, "undefined_cadence": 0.125},
        "real": values | {"undefined_tonality": 0.0, "undefined_cadence": 0.0},
    }
    told = {"title": "fifths", "meaning": "share of fifths", "target": "steered towards: more of it"}
    found = {"rows": rows, "facts": {}, "metrics": {"objective_tonality": told}}
    found["objectives"] = ["objective_tonality", "objective_cadence"]
    (own_run / "report.json").write_text(json.dumps(found), "utf-8")
    table = contents.measurements(Run(own_run))
    shown = ["bleu_4", "unique", "objective_tonality", "objective_cadence", "undefined_cadence"]
    assert [row.name for row in table.rows] == shown
    assert table.others == [], "a share that is 0 everywhere is not shown"
    (row,) = [row for row in table.rows if row.name == "objective_tonality"]
    assert (row.metric.title, row.metric.target) == ("fifths", "steered towards: more of it")
    assert not any(best for _, best in row.cells), "nothing is nearest to real where real is not the target"


def test_the_pages_stay_small(tiny_run):
    assert all((tiny_run.directory / name).stat().st_size < 1_500_000 for name in ("report.html", "listen.html"))
    assert dataclasses.is_dataclass(tiny_run.pages)
