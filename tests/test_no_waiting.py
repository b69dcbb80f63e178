"""A search, an epoch of D and one of likelihood tell a GPU what to do and never wait for it.

They run on PyTorch's device "meta", whose tensors have shapes and no values: whatever needs a value of the device (a
number, the places that are true, the different ones, a copy in main memory) fails there. It takes the way of a GPU,
for it is no processor.
"""

import contextlib
import dataclasses
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seqgan_music import losses, sampling
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.policy import PolicyTraining
from seqgan_music.algorithms.pretraining import DiscriminatorTraining, generate, likelihood_epoch
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy, LeastSquares, WassersteinClipping
from seqgan_music.modes import set_rng
from seqgan_music.rewards import Reward

VOCABULARY, LENGTH, END, PAD, ROWS, BATCH = 12, 8, 10, 11, 20, 8


class Elsewhere(torch.Generator):
    """Draws for the device without values."""

    device = torch.device("meta")


class Watch(TorchDispatchMode):
    """Nothing may come from main memory either, for the copy is waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        assert all(tensor.device.type == "meta" for tensor in tensors), f"{function} has a tensor of main memory"
        return function(*args, **(kwargs or {}))


@pytest.fixture
def numbers(monkeypatch):
    """Functions that ask for a number; every answer is 1."""
    asked = []

    def item(tensor):
        asked.append(sys._getframe(1).f_code.co_name)
        return 1.0

    def tensor(data, *, device=None, **options):
        assert torch.device(device or "cpu").type == "cpu", "a tensor made of numbers is copied from main memory"
        return made_of_numbers(data, device=device, **options)

    made_of_numbers = torch.tensor
    # The device knows no autocast, which reads no values.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "item", item)
    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setitem(sampling.MEMORY_BUDGET, "meta", sampling.MEMORY_BUDGET["cuda"])
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "meta", losses.LOGITS_AT_ONCE["cuda"])
    return asked


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def parts(request):
    generator = LSTMGenerator(VOCABULARY, [PAD], embedding=4, hidden=6, layers=2, dropout=0.2, lookback=[2, 3])
    options = {"embedding": 4, "filters": [[1, 4], [3, 4]], "self_similarity": 2}
    discriminator = CNNDiscriminator(VOCABULARY, LENGTH, **options)
    for network in (generator, discriminator):
        network.to("meta").product_dtype = request.param if request.param == torch.bfloat16 else None
    ids = torch.zeros(ROWS, LENGTH, dtype=torch.int64, device="meta")
    windows = Windows(ids, ids[:, 0], ids[:, 0])
    data = Dataset(windows, windows, windows, VOCABULARY, end_id=END, pad_id=PAD)
    loss = BinaryCrossEntropy()
    made = Parts(generator, discriminator, loss, Reward(discriminator, loss), data, Elsewhere())
    set_rng(generator, made.rng)
    return made


def descent(network):
    """In place of Adam, which counts its steps on a GPU there and in main memory for every other device."""
    return torch.optim.SGD(network.parameters(), 1e-3)


def policy(parts, **options):
    how = {"rollout_rate": 1.0, "learning_rate": 1e-3, "baseline": "prefix", "normalize_advantage": True, "kl": 0.1}
    how |= {"likelihood_steps": 1, "entropy_bonus": 0.1, "clip": 5.0, "memory_budget": 0, "rollouts": 3, **options}
    return PolicyTraining(parts, batch_size=BATCH, likelihood_batch_size=BATCH, **how)


@pytest.mark.parametrize("memory_budget", [0, 1])
def test_a_search(parts, numbers, memory_budget):
    trained = policy(parts, memory_budget=memory_budget)
    ids = torch.zeros(BATCH, LENGTH, dtype=torch.int64, device="meta")
    with Watch():
        assert trained.search(ids, ids[:, 0]).shape == (BATCH, LENGTH)
    assert not numbers


@pytest.mark.parametrize("loss", [BinaryCrossEntropy, LeastSquares, WassersteinClipping])
def test_an_epoch_of_d_reads_its_loss_at_the_end(parts, numbers, loss):
    options = {"sets": 1, "epochs": 1, "samples": 0, "batch_size": BATCH, "learning_rate": 1e-3}
    trained = DiscriminatorTraining(dataclasses.replace(parts, loss=loss()), **options)
    trained.optimizer = descent(parts.discriminator)
    ids = parts.dataset.train.ids
    with Watch():
        trained.train_epoch(ids, ids)
    assert numbers == ["train_epoch"]


def test_an_epoch_of_likelihood_reads_its_loss_at_the_end(parts, numbers):
    with Watch():
        likelihood_epoch(parts, descent(parts.generator), BATCH, 5.0)
    assert numbers == ["likelihood_epoch"]


def test_sampling(parts, numbers):
    with Watch():
        assert generate(parts, parts.dataset.train.start).shape == (ROWS, LENGTH)
    assert not numbers


def test_the_device_without_values_notices(parts, numbers):
    """What the tests above would miss if it were not so."""
    values = torch.ones(3, device="meta")
    waiting = (
        lambda: values[values > 0],
        lambda: values.unique(),
        lambda: values.nonzero(),
        lambda: values.masked_select(values > 0),
        lambda: bool((values > 0).all()),
        lambda: values.tolist(),
        lambda: values.cpu(),
        lambda: torch.equal(values, values),
        lambda: values.repeat_interleave(torch.ones(3, dtype=torch.int64, device="meta")),
        lambda: values + torch.tensor(1, device="meta"),
        lambda: values + torch.ones(3),
    )
    for waits in waiting:
        with pytest.raises((RuntimeError, NotImplementedError, AssertionError)), Watch():
            waits()
