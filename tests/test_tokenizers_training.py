"""Every tokenizer trains, generates and is evaluated."""

import dataclasses
import math

import pytest

import seqgan_music
from seqgan_music import midi
from seqgan_music.errors import UsageError
from seqgan_music.notes import Note, Part, Piece
from seqgan_music.run import Run
from seqgan_music.tokenizers import TOKENIZERS

OBJECTIVES = {"reward": {"lambda": 0.5}, "objectives": {"tonality": 1.0, "ratio_of_steps": 1.0}}


def trained(directory, tiny_experiment, name, **options):
    if "miditok" in name:
        pytest.importorskip("miditok", reason="the extra miditok is not installed")
    made = list(tiny_experiment(directory, tokenizer={"name": name}, **OBJECTIVES, **options))
    assert {record.phase for record, _ in made} >= {"mle", "discriminator", "adversarial"}
    last = made[-1][0].values
    assert 0 <= last["reward_ratio_of_steps"] <= 1
    return Run(directory)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_trains_generates_and_is_evaluated(name, tiny_experiment, tmp_path):
    run = trained(tmp_path / "run", tiny_experiment, name)
    pieces = run.generate(6, seed=3)
    assert any(len(piece.notes) for piece in pieces)
    for number, piece in enumerate(pieces):
        midi.write(piece, tmp_path / f"{number}.mid")
    evaluation = run.evaluate(samples=20)
    assert {"mle", "adversarial", "real", "Markov-1", "uniform"} <= set(evaluation.rows)
    for row in ("mle", "real", "Markov-2"):
        assert 0 <= evaluation.rows[row]["bleu_2"] <= 1
        assert 0 < evaluation.rows[row]["mse_pairs"] < 60**2
    assert 0 < evaluation.rows["mle"]["nll"] < 2 * math.log(run.tokenizer.vocab_size)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_melody_goes_on_and_bars_are_counted_or_said_not_to_be(name, tiny_experiment, tiny_corpus, tmp_path):
    run = trained(tmp_path / "run", tiny_experiment, name, algorithm={"rounds": 1})
    tune = tiny_corpus.pieces[0]
    begin = dataclasses.replace(tune, notes=[note for note in tune.notes if note.end <= 4 * tune.ticks_per_bar])
    prefix = run.tokenizer.decode(run.tokenizer.encode(begin))
    for piece in run.generate(3, prime=begin):
        # The last note may be held on; REMI may go back to an earlier position.
        assert set(piece.notes) >= set(list(prefix.notes)[:-1])
        assert len(piece.notes) >= len(prefix.notes)
        if not run.tokenizer.polyphonic:
            assert list(piece.notes)[: len(prefix.notes) - 1] == list(prefix.notes)[:-1]
    if run.tokenizer.bar_tokens(run.tokenizer.encode(begin)[0], 2) is None:
        with pytest.raises(UsageError, match="bars"):
            run.generate(3, bars=2)
    else:
        assert max(piece.end / piece.ticks_per_bar for piece in run.generate(12, bars=2)) == pytest.approx(2, abs=0.2)


def test_scores_of_several_parts_are_learned_as_such(tiny_experiment, tiny_corpus, tmp_path):
    folder = tmp_path / "scores"
    folder.mkdir()
    for number, tune in enumerate(tiny_corpus.pieces):
        bar = int(tune.ticks_per_bar)
        bass = [Note(o, bar, 43 + (o // bar) % 3 * 2, 80, 1) for o in range(0, tune.end, bar)]
        drums = [Note(o, 120, 36, 80, 2) for o in range(0, tune.end, bar)]
        notes = sorted([*tune.notes, *bass, *drums], key=lambda n: (n.onset, n.pitch, n.part))
        parts = (Part(40), Part(33), Part(0, True))
        whole: Piece = dataclasses.replace(tune, notes=notes, parts=parts)
        midi.write(whole, folder / f"{number}.mid")
    source = seqgan_music.read_corpus(folder, every_part=True)
    run = trained(tmp_path / "run", tiny_experiment, "miditok:REMI", source=source, data={"length": 48})
    assert run.tokenizer.programs == [33, 40]
    assert run.tokenizer.drums == (36, 36)
    pieces = run.generate(8, seed=1)
    assert {part for piece in pieces for part in piece.parts} >= {Part(40), Part(33)}
    assert run.facts["corpus"]["pieces"] == len(source)
