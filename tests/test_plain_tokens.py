"""Sequences that are no music, from a file to a run and back."""

import dataclasses
import json

import numpy as np
import pytest
import seqgan_music_cli.train
import tomli_w
import torch
from click.testing import CliRunner
from seqgan_music_cli.main import main

import seqgan_music as sm
from seqgan_music import checkpoint, config, export, run_directory, run_settings, token_file
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.material import prepare
from seqgan_music.run import Run
from seqgan_music.tokenizers.plain import PlainTokens

PLAIN = {"tokenizer": {"name": "tokens"}}
WHO, DOES, WHERE = ("the old dog", "a cat", "my king"), ("sees", "hears", "finds"), ("", "at night", "in the garden")
LONGEST = 10  # tokens of the longest sentence


def call(*words):
    """Exit code, stdout and stderr of a command that must not end in a traceback."""
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


def walks(n=60, length=12, seed=0):
    """Random walks on nine integers, so that a model can learn something."""
    rng = np.random.default_rng(seed)
    return ((rng.integers(9, size=(n, 1)) + rng.integers(-1, 2, (n, length)).cumsum(1)) % 9).tolist()


def sentences():
    return [f"{a} {b} {c} {d}".split() for a in WHO for b in DOES for c in WHO for d in WHERE]


@pytest.fixture(scope="module")
def sources():
    return {"integers": token_file.from_sequences(walks()), "words": token_file.from_sequences(sentences())}


@pytest.fixture
def settings(tiny_settings):
    del tiny_settings["data"]
    return config.merge(tiny_settings, PLAIN)


@pytest.fixture
def toml(settings, tmp_path):
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(settings), "utf-8")
    return tmp_path / "tiny.toml"


@pytest.fixture
def files(tmp_path):
    """The same sequences as a user may have them."""
    (tmp_path / "integers.txt").write_text(token_file.text_of(walks()), "utf-8")
    (tmp_path / "words.txt").write_text(token_file.text_of(sentences()), "utf-8")
    np.savez(tmp_path / "integers.npz", tokens=np.array(walks(), np.int16))
    return {name.partition(".")[0] + suffix: tmp_path / f"{name}{suffix}" for name, suffix in
            (("integers", ".txt"), ("words", ".txt"), ("integers", ".npz"))}  # fmt: skip


@pytest.fixture(scope="module")
def trained(sources, tiny_run, tmp_path_factory):
    """A finished run on words, and one on integers; to be read, not changed."""
    sizes = {name: tiny_run.settings[name] for name in ("run", "generator", "discriminator", "algorithm")}
    folder = tmp_path_factory.mktemp("plain")
    return {name: sm.train(source, settings=sizes, directory=folder / name) for name, source in sources.items()}


# The vocabulary


def test_ids_of_integers_and_of_words():
    integers, words = PlainTokens(size=9), PlainTokens(words=["a", "b", "c"], ends=True)
    assert (integers.vocab_size, integers.end_id, integers.pad_id, integers.start_ids) == (10, -1, -1, {(): 9})
    assert integers.never == (9,)
    assert (words.vocab_size, words.end_id, words.pad_id, words.start_ids) == (6, 3, 4, {(): 5})
    assert words.never == (4, 5)
    of_the_paper = PlainTokens(size=9, start=0)
    assert (of_the_paper.vocab_size, of_the_paper.start_ids, of_the_paper.never) == (9, {(): 0}, ())
    assert integers.tokens([3, 0, 8]) == [3, 0, 8]
    assert words.tokens([1, 0, 3, 4, 4]) == ["b", "a"]
    assert (words.line([1, 0, 3, 2]), words.line([3]), integers.line([3, 0])) == ("b a", "", "3 0")
    for vocabulary in (integers, words, of_the_paper):
        again = PlainTokens.from_dict(json.loads(json.dumps(vocabulary.to_dict())))
        assert vars(again) == vars(vocabulary)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "tokenizer.size must lie in 1..1000000, not 0"),
        ({"size": 2_000_000}, "tokenizer.size must lie in"),
        ({"size": 2, "words": ["a", "b", "c"]}, "tokenizer.size is 2, but tokenizer.words has 3"),
        ({"words": ["a", "b", "a"]}, "must not name a word twice"),
        ({"words": ["a", "b c"]}, "words without white space"),
        ({"words": "abc"}, "must be a list of words"),
        ({"words": 3}, "must be a list of words"),
        ({"size": 5, "start": 5}, "tokenizer.start must be one of the 5 tokens from 0, or -1, not 5"),
    ],
)
def test_a_vocabulary_that_cannot_be_meant_is_refused(options, why):
    with pytest.raises(UsageError, match=why):
        PlainTokens(**options)


# The data


def test_rows_of_one_length_neither_end_nor_are_padded(sources, settings):
    material = prepare(sources["integers"], settings)
    data = material.data
    assert (data.length, data.vocab_size, data.end_id, data.pad_id, data.never) == (12, 10, -1, -1, (9,))
    every = torch.cat([part.ids for part in (data.train, data.validation, data.test)]).tolist()
    assert sorted(every) == sorted(walks())
    assert set(data.train.start.tolist()) == {9}


def test_rows_of_other_lengths_end_and_are_padded(sources, settings):
    material = prepare(sources["words"], settings)
    data, tokenizer = material.data, material.tokenizer
    assert data.length == max(map(len, sentences())) + 1
    assert (data.end_id, data.pad_id) == (tokenizer.size, tokenizer.size + 1)
    every = torch.cat([part.ids for part in (data.train, data.validation, data.test)])
    assert (every == data.end_id).sum(1).tolist() == [1] * len(sentences())
    ended = (every == data.end_id).cumsum(1) - (every == data.end_id).long() > 0
    assert torch.equal(ended, every == data.pad_id), "PAD and nothing else stands behind END"
    said = sorted(tokenizer.line(row) for row in every.tolist())
    assert said == sorted(" ".join(sentence) for sentence in sentences())


def test_every_option_of_the_vocabulary_does_something(sources, settings):
    def data(**options):
        return prepare(sources["integers"], config.merge(settings, {"tokenizer": options})).data

    assert data(size=20).vocab_size == 21
    assert (data(ends=True).length, data(ends=True).end_id) == (13, 9)
    authors = data(start=0)
    assert (authors.vocab_size, authors.never, set(authors.train.start.tolist())) == (9, (), {0})
    words = [*"zyxwvutsrqponmlkjihgfedcba", *{word for sentence in sentences() for word in sentence if len(word) > 1}]
    named = prepare(sources["words"], config.merge(settings, {"tokenizer": {"words": words}}))
    row = int(named.data.train.piece[0])
    assert named.tokenizer.line(named.data.train.ids[0].tolist()) == " ".join(sentences()[row])
    assert named.data.vocab_size == len(words) + 3


def test_rows_that_do_not_fit_are_refused_one_by_one(sources, settings):
    lengths = list(map(len, sentences()))
    material = prepare(sources["words"], config.merge(settings, {"data": {"length": 8}}))
    refused = material.corpus["refused"]
    assert len(refused) == sum(length > 7 for length in lengths) > 0
    first = next(row for row, length in enumerate(lengths, 1) if length > 7)
    assert refused[0]["path"] == f"row {first}"
    assert (refused[0]["reason"], refused[0]["detail"][-28:]) == ("too long", " tokens, where there are 1 to 7"[-28:])
    assert material.data.length == 8
    exactly = prepare(sources["words"], config.merge(settings, {"data": {"length": 6}, "tokenizer": {"ends": False}}))
    assert {refusal["reason"] for refusal in exactly.corpus["refused"]} == {"too long", "too short"}
    assert (exactly.data.end_id, len(exactly.data.train.ids[0])) == (-1, 6)


def test_of_many_rows_that_are_refused_none_is_looked_up_among_all_again(sources, settings, monkeypatch):
    asked, names = [], token_file.TokenFile.names.fget
    monkeypatch.setattr(token_file.TokenFile, "names", property(lambda source: asked.append(1) or names(source)))
    prepare(sources["words"], settings)
    before = len(asked)
    assert len(prepare(sources["words"], config.merge(settings, {"data": {"length": 8}})).corpus["refused"]) > 20
    assert len(asked) == 2 * before


def test_empty_sequences_are_refused(settings):
    material = prepare(token_file.from_sequences([[1, 2], [], [3], [4, 5, 6], []]), settings)
    assert material.corpus["pieces"] == 3
    detail = "0 tokens, where there are 1 to 3"
    assert material.corpus["refused"] == [
        {"path": row, "reason": "too short", "detail": detail} for row in ("row 2", "row 5")
    ]


@pytest.mark.parametrize(
    ("source", "sections", "why"),
    [
        ("integers", {"tokenizer": {"size": 5}}, "token [5-8] in row .*, which is none of the 5 of this vocabulary"),
        ("integers", {"tokenizer": {"words": ["a"]}}, "has integers as tokens, but this vocabulary has words"),
        ("words", {"tokenizer": {"size": 5}}, "tokenizer.size is 5, but tokenizer.words has"),
        ("words", {"tokenizer": {"words": ["the"]}}, "the word '.*' in row 1, which is none of the 1"),
        ("words", {"data": {"length": 1}}, "data.length must be at least 2, not 1"),
        ("words", {"data": {"length": -4}}, "data.length must be at least 2, not -4"),
        ("nothing", {}, "the longest row of the list of sequences, in tokens, must be at least 2, not 0"),
        ("empty", {}, "the longest row of the list of sequences, in tokens, must be at least 2, not 0"),
        ("single", {}, "the longest row of the list of sequences, in tokens, must be at least 2, not 1"),
        ("words", {"data": {"length": 3}}, "0 distinct rows in 81 that can be used .81 × too long, such as row 1"),
        ("words", {"data": {"transpose": "key"}}, "no notes to transpose"),
        ("words", {"objectives": {"tonality": 1.0}}, "objectives score notes, .* leave out -O tonality"),
        ("words", {"algorithm": {"name": "naive_rl"}}, "algorithm naive_rl is trained by scores of notes"),
    ],
)
def test_what_contradicts_the_file_is_refused(source, sections, why, sources, settings, tmp_path):
    none = {"nothing": [], "empty": [[], [], []], "single": [[1], [2], [3], [4]]}
    with pytest.raises(UsageError, match=why):
        Experiment.create(
            sources.get(source) or token_file.from_sequences(none[source]),
            run_settings.lay(settings, sections),
            tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_a_corpus_is_no_file_of_tokens(tiny_corpus, settings):
    with pytest.raises(UsageError, match="tokenizer 'tokens' is of sequences that are no music, which train --tokens"):
        prepare(tiny_corpus, settings)


def test_numbers_too_large_for_a_vocabulary_are_refused(settings):
    with pytest.raises(UsageError, match="has token 1000000 in row 2; a vocabulary has 1000000 at most"):
        prepare(token_file.from_sequences([[1, 2], [1_000_000, 3], [4, 5]]), settings)


# A run


def test_a_run_on_words_writes_words(trained):
    run = trained["words"]
    assert not run.is_music
    assert run.settings["data"]["length"] == run.dataset.length == LONGEST + 1, "which the file says, not a preset"
    written = run.sequences(40, seed=3)
    known = {word for sentence in sentences() for word in sentence}
    assert all(set(sequence) <= known and len(sequence) <= LONGEST + 1 for sequence in written)
    assert written == run.sequences(40, seed=3) != run.sequences(40, seed=4)
    assert len({len(sequence) for sequence in written}) > 1
    likeliest = run.sequences(5, top_k=1)
    assert all(sequence == likeliest[0] for sequence in likeliest)
    assert run.sequences(3, best_of=8, stage="adversarial") != run.sequences(3, stage="adversarial")
    for stage in run.stages:
        lines = (run.directory / "samples" / stage / "samples.txt").read_text("utf-8").splitlines()
        assert [line.split() for line in lines] == run.sequences(8, stage=stage)
    assert not (run.directory / "report.html").exists()
    assert json.loads((run.directory / "report.json").read_text("utf-8"))["rows"]["real"]["bleu_4"] > 0


def test_a_run_on_integers_writes_integers_of_one_length(trained):
    written = trained["integers"].sequences(20)
    assert {len(sequence) for sequence in written} == {12}
    assert {token for sequence in written for token in sequence} <= set(range(9))
    ids, start = trained["integers"].sample(20)
    assert ids.tolist() == written
    assert set(start.tolist()) == {9}


def test_the_token_that_sequences_begin_from_is_read_and_not_written(sources, settings, tmp_path):
    authors = config.merge(settings, {"tokenizer": {"start": 0}, "algorithm": {"rounds": 1}})
    list(Experiment.create(sources["integers"], authors, tmp_path / "run"))
    run = Run(tmp_path / "run")
    ids, start = run.sample(200)
    assert set(start.tolist()) == {0}
    assert set(ids.flatten().tolist()) == set(range(9)), "it is a token like the others"


def test_what_only_music_has_is_refused(trained, tiny_run):
    run = trained["words"]
    with pytest.raises(UsageError, match=r"are no music; Run\.sequences draws them"):
        run.generate(2)
    for option in ({"bars": 2}, {"metre": (4, 4)}):
        with pytest.raises(UsageError, match="are no music; leave out metre and bars"):
            run.sequences(2, **option)
    with pytest.raises(UsageError, match="the number of sequences must be at least 1"):
        run.sequences(0)
    with pytest.raises(UsageError, match="writes music: generate makes pieces of it"):
        tiny_run.sequences(2)


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_resumed_is_uninterrupted(stop_after, sources, settings, tmp_path):
    def made(name):
        return Experiment.create(sources["words"], settings, tmp_path / name)

    def outcome(name):
        log = [{**line, "seconds": 0} for line in run_directory.read_log(tmp_path / name)]
        weights = checkpoint.load(tmp_path / name / "checkpoints" / "last")["parts"]["generator"]
        return log, {part: tensor.tolist() for part, tensor in weights.items()}

    list(made("whole"))
    for number, _ in enumerate(made("stopped"), 1):
        if number == stop_after:
            break
    list(Experiment.resume(tmp_path / "stopped"))
    assert outcome("stopped") == outcome("whole")
    assert Run(tmp_path / "stopped").sequences(8) == Run(tmp_path / "whole").sequences(8)


def test_starting_from_a_run(trained, sources, settings, tiny_run, tmp_path):
    few = token_file.from_sequences([[*sentence[:-1], "night"] for sentence in sentences()[:40]])
    started = sm.train(few, init=trained["words"], algorithm="mle", settings={"algorithm": {"epochs": 1}},
                       directory=tmp_path / "run", evaluate=False)  # fmt: skip
    assert started.tokenizer.words == trained["words"].tokenizer.words, "those of the file are fewer"
    assert started.dataset.length == trained["words"].dataset.length
    assert started.facts["init"]["run"] == trained["words"].directory.name
    rows = started.dataset.train.ids.tolist()
    assert {started.tokenizer.line(row).split()[-1] for row in rows} == {"night"}
    for source, init, why in (
        (
            token_file.from_sequences([["a", "zebra"], ["a"], ["cat", "a"]]),
            "words",
            "the word 'zebra' in row 1, which is",
        ),
        (sources["integers"], "words", "has integers as tokens, but this vocabulary has words"),
        (sources["words"], "integers", "has words as tokens, but this vocabulary has integers"),
    ):
        with pytest.raises(UsageError, match=why):
            sm.train(source, init=trained[init], directory=tmp_path / "other")
    with pytest.raises(UsageError, match="is of music, but the list of sequences has plain tokens"):
        sm.train(sources["words"], init=tiny_run, directory=tmp_path / "other")
    with pytest.raises(UsageError, match="is of sequences that are no music"):
        sm.train("midi_data", init=trained["words"], directory=tmp_path / "other")


def test_an_exported_run_writes_the_same(trained, tmp_path):
    for name, run in trained.items():
        export.export(run, tmp_path / name)
        copy = Run(tmp_path / name)
        assert copy.sequences(5) == run.sequences(5)
        assert not any(word in (tmp_path / name / "run.json").read_text("utf-8") for word in map(" ".join, sentences()))


def test_a_music_preset_s_length_is_not_that_of_tokens(sources, tmp_path, settings):
    run = sm.train(sources["integers"], preset="paper", settings=settings, directory=tmp_path / "run", evaluate=False)
    assert run.dataset.length == 12


# The command line


@pytest.mark.parametrize("name", ["integers.txt", "words.txt", "integers.npz"])
def test_from_a_file_to_a_file(name, files, toml, tmp_path):
    code, out, err = call("train", "--tokens", files[name], "-c", toml, "-o", tmp_path / "run")
    assert code == 0, err
    lines = err.splitlines()
    length = LONGEST + 1 if name == "words.txt" else 12
    assert lines[0] == f"{len(sentences()) if name == 'words.txt' else 60} sequences; 0 refused"
    assert lines[1].startswith(f"rows of {length} tokens: ")
    assert (" of words; device" in lines[1]) == (name == "words.txt")
    assert not [word for word in ("tune", "melod", "inspect", "report:") if word in err + out]
    assert "| real " in out
    assert out.splitlines()[-1] == f"new sequences: seqgan-music generate {tmp_path / 'run'} -n 16 -o out/"

    code, out, err = call("generate", tmp_path / "run", "-n", 90, "-o", tmp_path / "out", "--format", "txt,npz")
    assert code == 0, err
    assert out.startswith(f"90 sequences in {tmp_path / 'out' / 'samples.txt'}, {tmp_path / 'out' / 'samples.npz'}")
    drawn = Run(tmp_path / "run").sequences(90)
    lines = (tmp_path / "out" / "samples.txt").read_text("utf-8").splitlines()
    assert [line.split() for line in lines] == [list(map(str, sequence)) for sequence in drawn]
    again = [token_file.read_tokens(tmp_path / "out" / f"samples.{ending}") for ending in ("txt", "npz")]
    assert again[0].digest == again[1].digest
    assert np.array_equal(again[0].tokens, token_file.from_sequences([row for row in drawn if row]).tokens)
    for ending in ("txt", "npz"):  # what was drawn can be trained on
        source = tmp_path / "out" / f"samples.{ending}"
        code, _, err = call("train", "--tokens", source, "-c", toml, "--no-evaluate", "-o", tmp_path / ending)
        assert code == 0, err


def test_the_preset_of_tokens_is_the_default(files, tmp_path, monkeypatch):
    class Enough(Exception):
        pass

    def stop(source, settings, directory, **_):
        made.append((source, settings))
        raise Enough

    made = []
    monkeypatch.setattr(Experiment, "create", stop)
    for words in ([], ["-p", "quick"], ["-s", "tokenizer.name=grid"]):
        with pytest.raises(Enough):
            CliRunner().invoke(main, ["train", "--tokens", str(files["integers.txt"]), *words], catch_exceptions=False)
    settings = [one for _, one in made]
    assert settings[0] == config.preset("tokens")
    assert settings[1]["tokenizer"] == {"name": "tokens"}
    assert "length" not in settings[1]["data"]
    assert settings[2] == config.merge(config.preset("default"), {"tokenizer": {"name": "grid"}})


def test_copies_are_counted_and_said(toml, tmp_path):
    lines = token_file.text_of([*sentences(), *sentences()[:5]])
    (tmp_path / "twice.txt").write_text(lines, "utf-8")
    code, _, err = call(
        "train", "--tokens", tmp_path / "twice.txt", "-c", toml, "--no-evaluate", "-o", tmp_path / "run"
    )
    assert code == 0, err
    start = f"{len(sentences())} sequences; 5 refused: 5 × duplicate, such as line {len(sentences()) + 1}"
    assert err.startswith(f"{start} (same tokens as line 1)\n")


def test_a_group_a_time_and_going_on(files, toml, tmp_path, monkeypatch):
    words = [
        "train",
        "--tokens",
        files["words.txt"],
        "-c",
        toml,
        "--minutes",
        60,
        "--seeds",
        2,
        "-o",
        tmp_path / "group",
    ]
    show = seqgan_music_cli.train.Progress.show
    stop = []

    def stopped(progress, record, warnings):
        show(progress, record, warnings)
        if record.phase == "adversarial" and not stop:
            stop.append(record)
            raise KeyboardInterrupt

    monkeypatch.setattr(seqgan_music_cli.train.Progress, "show", stopped)
    code, _, err = call(*words)
    assert code == 130
    assert "each of 2 runs: the whole schedule fits" in err
    code, out, err = call("train", "--resume", tmp_path / "group")
    assert code == 0, err
    assert f"new sequences: seqgan-music generate {tmp_path / 'group' / 'seed-1'}" in out
    assert len((tmp_path / "group" / "seed-2" / "samples" / "mle" / "samples.txt").read_text("utf-8").splitlines()) == 8


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["{folder}", "--tokens", "{file}"], "no folder of MIDI; leave out MIDI_FOLDER"),
        (
            ["--tokens", "{file}", "--track", "3", "--skyline", "--transpose", "none"],
            "leave out --transpose, --track, --s",
        ),
        (["--tokens", "{file}", "-O", "tonality"], "objectives score notes"),
        (["--tokens", "{folder}/none.txt"], "cannot read {folder}/none.txt: No such file"),
        (["--tokens", "{folder}"], "cannot read {folder}: Is a directory"),
        (["--tokens", "{file}", "--init", "pretrained"], "is of music, but {file} has plain tokens; start from"),
        (["{folder}", "-p", "tokens"], "tokenizer 'tokens' is of sequences that are no music"),
        (["--resume", "{folder}", "--tokens", "{file}"], "leave out --tokens"),
        ([], "name a folder of MIDI, such as: seqgan-music train midi_data/, or a file with --tokens"),
    ],
)
def test_what_training_refuses(words, why, files, tmp_path):
    names = {"folder": tmp_path, "file": files["words.txt"]}
    code, _, err = call("train", *(word.format(**names) for word in words), "-o", tmp_path / "run")
    assert code == 2
    assert why.format(**names) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--format", "mid"], "format 'mid' is not for sequences of tokens; there are: txt, npz"),
        (["--format", "csv"], "unknown format 'csv'; there are: txt, npz"),
        (["--prime", "a.mid", "--bars", "3"], "are no music; leave out --prime, --bars"),
        (["--metre", "3/4"], "leave out --metre"),
        (["--tempo", "90", "--program", "violin"], "leave out --tempo, --program"),
        (["--soundfont", "a.sf2"], "leave out --soundfont"),
        (["--top-k", "-1"], "top-k must be 0"),
        (["--stage", "random"], "has no stage 'random'; it has: mle, adversarial, best"),
    ],
)
def test_what_generating_refuses(words, why, trained, tmp_path):
    code, _, err = call("generate", trained["words"].directory, *words, "-o", tmp_path / "out")
    assert code == 2
    assert why in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_files_of_the_folder_stay_and_are_counted(trained, tmp_path):
    call("generate", trained["words"].directory, "--format", "npz", "-o", tmp_path)
    kept = (tmp_path / "samples.npz").read_bytes()
    _, out, _ = call("generate", trained["words"].directory, "--seed", 1, "-o", tmp_path)
    assert out.strip().endswith("; 1 files there are not of them")
    assert (tmp_path / "samples.npz").read_bytes() == kept


def test_a_run_of_music_writes_no_tokens(tiny_run, tmp_path):
    code, _, err = call("generate", tiny_run.directory, "--format", "txt", "-o", tmp_path / "out")
    assert code == 2
    assert "format 'txt' is not for music; there are: mid, wav, png, musicxml" in err


def test_a_tokenizer_of_one_s_own_that_does_not_say_is_one_of_music(tiny_run, own_run):
    run = Run(own_run)
    silent = type("Silent", (), {"start_ids": run.tokenizer.start_ids})()
    run.tokenizer = silent
    assert run.is_music


def test_a_file_has_what_it_is_made_with():
    made = token_file.TokenFile(np.array([[1, 2], [3, 4], [5, 6]]), "rows.npz", "")
    assert (made.words, made.lengths.tolist(), made.names[2]) == ((), [2, 2, 2], "row 3")
    assert dataclasses.replace(made, numbers=(1, 5, 9), unit="line").names == ["line 1", "line 5", "line 9"]
