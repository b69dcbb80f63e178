"""What is recorded for a GPU gives what it would give unrecorded: shown by a recorder that works on any device.

It keeps to what a CUDA graph does: it computes the first function it was given, of the very tensors it was recorded
with, always into the same result.
"""

import contextlib
import copy
import types
import warnings

import pytest
import torch

from seqgan_music import building, graphs
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import DiscriminatorTraining, likelihood_epoch
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.errors import SeqganMusicWarning
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.graphs import REHEARSALS, Graphs, state_of_training, tensors_of
from seqgan_music.losses import (
    BinaryCrossEntropy,
    LeastSquares,
    WassersteinClipping,
    WassersteinGradientPenalty,
)
from seqgan_music.modes import set_rng
from seqgan_music.optimizers import Adam
from seqgan_music.rewards import Reward
from seqgan_music.rollout import action_values

VOCABULARY, LENGTH, END, PAD = 12, 8, 10, 11


class Plain:
    """A recorder without a GPU."""

    def __init__(self):
        self.recorded, self.replays, self.why_not, self.names = 0, 0, "", set()

    def rehearse(self, function, inputs):
        return function(*inputs), self.why_not

    def record(self, function, inputs):
        self.recorded += 1
        self.names.add(getattr(function, "func", function).__name__)
        results = []

        def replay():
            self.replays += 1
            found = function(*inputs)
            if not results:
                results.append(torch.empty_like(found))
            return results[0].copy_(found)

        return replay


def networks(seed=1):
    rng = torch.Generator().manual_seed(seed)
    generator = LSTMGenerator(VOCABULARY, [PAD], embedding=4, hidden=6, dropout=0.2)
    discriminator = CNNDiscriminator(VOCABULARY, LENGTH, embedding=4, filters=[[1, 4], [3, 4]], dropout=0.3)
    generator.reset_parameters(rng)
    discriminator.reset_parameters(rng)
    return generator, discriminator


def sequences(n, seed):
    return torch.randint(END, (n, LENGTH), generator=torch.Generator().manual_seed(seed))


def parts(recorder=None, loss=None, rows=20):
    generator, discriminator = networks()
    windows = Windows(sequences(rows, 2), torch.zeros(rows, dtype=torch.int64), torch.arange(rows))
    data = Dataset(windows, windows, windows, VOCABULARY, end_id=END, pad_id=PAD)
    loss = loss or BinaryCrossEntropy()
    rng = torch.Generator().manual_seed(3)
    reward = Reward(discriminator, loss)
    return Parts(generator, discriminator, loss, reward, data, rng, Graphs(recorder))


def test_a_result_is_the_callers_own():
    recorder = Plain()
    recorded = Graphs(recorder)
    given = [torch.full((2,), float(number)) for number in range(REHEARSALS + 4)]
    results = [recorded.run("double", lambda ids: 2 * ids, each) for each in given]
    assert [result.tolist() for result in results] == [[2.0 * number] * 2 for number in range(REHEARSALS + 4)]
    assert (recorder.recorded, recorder.replays) == (1, 4)
    assert [each.tolist() for each in given] == [[float(number)] * 2 for number in range(REHEARSALS + 4)]


def test_a_function_that_gives_back_its_input_or_part_of_it_does_not_give_away_the_recordings():
    recorded = Graphs(Plain())
    results = [recorded.run("same", lambda values: values[:1], torch.full((3,), float(n))) for n in range(9)]
    assert [result.item() for result in results] == list(map(float, range(9)))
    results[-1].fill_(100.0)
    assert recorded.run("same", lambda values: values[:1], torch.full((3,), 9.0)).item() == 9.0


def test_every_call_is_computed_once():
    calls = []

    def function(values):
        calls.append(values.clone())
        return values + 1

    recorded = Graphs(Plain())
    for number in range(REHEARSALS + 3):
        recorded.run("once", function, torch.tensor([number]))
    assert [call.item() for call in calls] == list(range(REHEARSALS + 3))


def test_each_shape_dtype_and_key_has_a_recording_of_its_own():
    recorder = Plain()
    recorded = Graphs(recorder)
    kinds = [(key, shape, dtype) for key in "ab" for shape in ((2,), (3,)) for dtype in (torch.int64, torch.float32)]
    for _ in range(REHEARSALS + 2):
        for key, shape, dtype in kinds:
            shift = 1 if key == "a" else 2
            result = recorded.run(key, lambda values, shift=shift: values + shift, torch.zeros(shape, dtype=dtype))
            assert (result.shape, result.dtype, result[0].item()) == (shape, dtype, shift)
    assert recorder.recorded == len(kinds)


def test_a_recording_is_of_the_first_function_so_what_differs_belongs_in_the_key():
    recorded = Graphs(Plain())
    shifts = [recorded.run("x", lambda values, n=n: values + n, torch.zeros(1)).item() for n in range(REHEARSALS + 3)]
    assert shifts == [*range(REHEARSALS), *[REHEARSALS] * 3]


def test_what_stands_somewhere_else_is_recorded_anew():
    recorder = Plain()
    recorded = Graphs(recorder)
    weights = [torch.tensor([1.0])]

    def use(values):
        return values * use.weight

    for number in range(2 * (REHEARSALS + 2)):
        if number == REHEARSALS + 2:
            weights[0] = torch.tensor([5.0])
        use.weight = weights[0]
        result = recorded.run("use", use, torch.ones(1), state=lambda: weights)
        assert result.item() == weights[0].item()
        weights[0].add_(1.0)  # where it stands: no new recording
    assert recorder.recorded == 2


@pytest.mark.parametrize("when", ["rehearsed", "recorded"])
def test_what_cannot_be_recorded_is_called_and_said_once(when, monkeypatch):
    recorder = Plain()
    if when == "rehearsed":
        recorder.why_not = "losses.py:7 waits for the GPU"
    else:

        def refuse(function, inputs):
            raise RuntimeError("losses.py:7 waits for the GPU\nand more")

        monkeypatch.setattr(recorder, "record", refuse)
    recorded = Graphs(recorder)
    with pytest.warns(SeqganMusicWarning) as warned:
        results = [recorded.run("x", lambda values: values + 1, torch.tensor([n])).item() for n in range(8)]
    assert results == list(range(1, 9))
    assert [str(warning.message) for warning in warned] == [
        "part of the training is not recorded as a CUDA graph, which is only slower: losses.py:7 waits for the GPU"
    ]
    assert recorder.replays == 0


def test_nothing_is_recorded_on_a_processor_or_where_the_environment_says_so(monkeypatch):
    assert graphs.for_generator(torch.Generator()).recorder is None
    on_a_gpu = types.SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(graphs, "CudaRecorder", lambda rng: "recorder")
    assert graphs.for_generator(on_a_gpu).recorder == "recorder"
    monkeypatch.setenv("SEQGAN_MUSIC_GRAPHS", "0")
    assert graphs.for_generator(on_a_gpu).recorder is None
    for device in ("mps", "cpu"):
        monkeypatch.delenv("SEQGAN_MUSIC_GRAPHS", raising=False)
        assert graphs.for_generator(types.SimpleNamespace(device=torch.device(device))).recorder is None


@pytest.mark.parametrize(
    "criterion", [BinaryCrossEntropy, LeastSquares, WassersteinGradientPenalty, WassersteinClipping]
)
def test_epochs_of_d_are_the_same_recorded(criterion):
    """With dropout, a smaller last batch, and moments that are loaded in between."""
    real, fake = sequences(38, 4), sequences(38, 5)
    outcomes = []
    for recorder in (None, Plain()):
        made = parts(recorder, criterion())
        options = {"sets": 1, "epochs": 1, "samples": 0, "batch_size": 8, "learning_rate": 1e-2}
        training = DiscriminatorTraining(made, **options)
        losses = [training.train_epoch(real, fake) for _ in range(5)]
        training.load_state_dict(copy.deepcopy(training.state_dict()))
        losses += [training.train_epoch(real, fake) for _ in range(5)]
        outcomes.append(
            (losses, made.discriminator.state_dict(), training.optimizer.state_dict(), made.rng.get_state())
        )
        if recorder is not None:
            assert recorder.replays > 30, "nearly all of 10 epochs of 5 batches"
            assert recorder.recorded == 4, "two shapes, and both again for the moments that have moved"
    (losses, weights, moments, rng), (other_losses, other_weights, other_moments, other_rng) = outcomes
    assert losses == other_losses
    assert losses[0] != losses[-1]
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert torch.equal(rng, other_rng)
    for one, other in zip(moments["state"].values(), other_moments["state"].values(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_and_moments_are_what_a_training_finds_where_it_stands():
    _, network = networks()
    optimizer = Adam(network.parameters(), 1e-2)
    weights = list(network.parameters())
    assert [each.data_ptr() for each in tensors_of(network)] == [each.data_ptr() for each in weights]
    network.eval()(sequences(2, 1)).sum().backward()
    optimizer.step()
    found = list(state_of_training(network, optimizer))
    assert sum(isinstance(each, torch.Tensor) for each in found) == 4 * len(weights)
    assert 1e-2 in [each for each in found if isinstance(each, float)], "the learning rate"
    generator, _ = networks()
    assert len(list(tensors_of(generator))) == len(list(generator.parameters())) + 1  # the ids never drawn


def test_another_learning_rate_is_recorded_anew():
    """A CUDA graph keeps the number that it was recorded with."""
    recorder = Plain()
    made = parts(recorder)
    options = {"sets": 1, "epochs": 1, "samples": 0, "batch_size": 8, "learning_rate": 1e-2}
    of_d, of_g = DiscriminatorTraining(made, **options), Adam(made.generator.parameters(), 1e-2)
    set_rng(made.generator, made.rng)
    real, fake = sequences(40, 4), sequences(40, 5)
    for number, rate in enumerate((1e-2, 1e-3), 1):
        for optimizer in (of_d.optimizer, of_g):
            optimizer.param_groups[0]["lr"] = rate
        of_d.train_epoch(real, fake)
        likelihood_epoch(made, of_g, 4, clip=5.0)
        assert recorder.recorded == 2 * number
    likelihood_epoch(made, of_g, 4, clip=1.0)
    assert recorder.recorded == 5


@pytest.mark.parametrize("memory_budget", [1, 30_000, 2**30])
def test_searches_are_the_same_recorded(memory_budget):
    """In blocks of every size, with weights that change where they stand, and with others."""
    generator, discriminator = networks()
    reward, start = Reward(discriminator, BinaryCrossEntropy()), torch.zeros(4, dtype=torch.int64)
    recorder = Plain()
    recorded = Graphs(recorder)
    for number in range(3 * (REHEARSALS + 2)):
        if number == 2 * (REHEARSALS + 2):
            generator = networks(seed=9)[0]
        with torch.no_grad():
            for weight in generator.parameters():
                weight.mul_(1.01)
        ids = sequences(4, number)
        ids[0, 3:] = torch.tensor([END, *[PAD] * (LENGTH - 4)])
        found = [
            action_values(
                generator,
                reward,
                ids,
                start,
                3,
                torch.Generator().manual_seed(number),
                end_id=END,
                pad_id=PAD,
                memory_budget=memory_budget,
                graphs=chosen,
            )
            for chosen in (None, recorded)
        ]
        assert torch.equal(*found)
    assert recorder.replays >= 5
    assert recorder.recorded >= 2


def test_a_whole_run_is_the_same_recorded(tiny_experiment, tmp_path, monkeypatch):
    """Every function the training records, through updates of all weights and all kinds of records."""
    outcomes, recorder = [], Plain()
    for name, chosen in (("plain", None), ("recorded", recorder)):
        monkeypatch.setattr(building.graphs, "for_generator", lambda rng, chosen=chosen: Graphs(chosen))
        made = tiny_experiment(tmp_path / name, algorithm={"rounds": 4, "rollout_rate": 0.5, "d_epochs": 2})
        log = [{**record.values, "seconds": 0} for record, _ in made]
        outcomes.append((log, made.parts.generator.state_dict(), made.parts.discriminator.state_dict()))
    assert outcomes[0][0] == outcomes[1][0]
    for one, other in zip(outcomes[0][1:], outcomes[1][1:], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert recorder.names == {"likelihood_step", "_update", "drawn", "read_and_complete"}
    assert recorder.replays > 10


class PretendedGraph:
    """What `torch.cuda` has for recording, as a list of what it was told."""

    def __init__(self, told, monkeypatch, *, fails=False):
        self.told, self.current = told, "main"

        class Stream:
            def __init__(self, name):
                self.name = name

            def wait_stream(self, other):
                told.append(f"{self.name} waits for {other.name}")

        class Graph:
            def register_generator_state(self, rng):
                told.append("register")

            def replay(self):
                told.append("replay")

        @contextlib.contextmanager
        def stream(which):
            before, self.current = self.current, which.name
            yield
            self.current = before

        @contextlib.contextmanager
        def record(graph, pool, stream):
            told.append(f"record on {stream.name}, {pool}")
            self.current = stream.name
            yield
            if fails:
                raise RuntimeError("operation not permitted when stream is capturing\nand what to do")
            self.current = "main"

        def set_stream(stream):
            self.current = stream.name

        cuda = {
            "Stream": lambda device: Stream("side"),
            "graph_pool_handle": lambda: "pool",
            "current_stream": lambda: Stream(self.current),
            "get_sync_debug_mode": lambda: 0,
            "set_sync_debug_mode": lambda mode: told.append(f"listen {mode}"),
            "stream": stream,
            "set_stream": set_stream,
            "CUDAGraph": Graph,
            "graph": record,
        }
        for name, pretended in cuda.items():
            monkeypatch.setattr(torch.cuda, name, pretended)


class PretendedGenerator:
    device = torch.device("cuda")

    def __init__(self):
        self.state = "before"

    def clone_state(self):
        return self.state

    def graphsafe_set_state(self, state):
        self.state = state


def test_a_cuda_graph_is_rehearsed_and_recorded_on_one_side_stream(monkeypatch):
    told = []
    pretended = PretendedGraph(told, monkeypatch)
    recorded = graphs.for_generator(PretendedGenerator())
    streams = []

    def function(values):
        streams.append(pretended.current)
        return values + 1

    for _ in range(REHEARSALS + 3):
        recorded.run("x", function, torch.zeros(2))
    rehearsal = ["side waits for main", "listen warn", "listen 0", "main waits for side"]
    assert told == [*rehearsal * REHEARSALS, "register", "record on side, pool", *["replay"] * 3]
    assert streams == ["side"] * (REHEARSALS + 1)
    assert pretended.current == "main"


def test_a_recording_that_breaks_off_leaves_stream_and_generator_as_they_were(monkeypatch):
    pretended = PretendedGraph([], monkeypatch, fails=True)
    rng = PretendedGenerator()
    recorded = graphs.for_generator(rng)

    def function(values):
        rng.state = "in the hands of the recording" if pretended.current == "side" else rng.state
        return values + 1

    for _ in range(REHEARSALS):
        recorded.run("x", function, torch.zeros(2))
    rng.state = "before"
    with pytest.warns(SeqganMusicWarning, match="not permitted when stream is capturing$"):
        assert recorded.run("x", function, torch.zeros(2)).tolist() == [1.0, 1.0]
    assert (pretended.current, rng.state) == ("main", "before")


def test_what_waits_for_the_gpu_is_named_by_file_and_line(monkeypatch):
    PretendedGraph([], monkeypatch)
    recorded = graphs.for_generator(PretendedGenerator())

    def function(values):
        warnings.warn("Synchronization debug mode is a prototype feature", UserWarning, stacklevel=1)
        warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        return values + 1

    with pytest.warns(UserWarning, match="something else|waits for the GPU") as warned:
        assert recorded.run("x", function, torch.zeros(1)).item() == 1.0
    messages = [str(warning.message) for warning in warned]
    assert len(messages) == 2
    assert "something else" in messages
    (why,) = set(messages) - {"something else"}
    assert "test_graphs.py:" in why
    assert why.endswith("waits for the GPU")
