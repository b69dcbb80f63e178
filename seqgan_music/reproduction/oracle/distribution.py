"""The oracle: a randomly initialised LSTM that is the true distribution (Yu et al. 2017, arXiv 1609.05473, section 4).

It makes the sequences that are learnt from, and says of any sequence how probable it is. Its weights are drawn from
N(0, 1), or read from a file in the layout of `KEYS`: ``W`` multiplies the input of a gate (``x @ W``), ``U`` the hidden
state before it, ``b`` is added; ``i``, ``f``, ``o`` and ``c`` are the input, forget and output gate and the candidate.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music import checkpoint, files, sampling
from seqgan_music.errors import UsageError
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import sequence_log_prob
from seqgan_music.modes import evaluating

KEYS: dict[str, tuple[str, ...]] = {
    "emb": ("V", "E"),
    **{"Wi": ("E", "H"), "Ui": ("H", "H"), "bi": ("H",)},
    **{"Wf": ("E", "H"), "Uf": ("H", "H"), "bf": ("H",)},
    **{"Wo_gate": ("E", "H"), "Uo_gate": ("H", "H"), "bo_gate": ("H",)},
    **{"Wc": ("E", "H"), "Uc": ("H", "H"), "bc": ("H",)},
    **{"W_out": ("H", "V"), "b_out": ("V",)},
}
"""Arrays of a file and their shapes: V tokens, an embedding of width E, a hidden state of width H."""
GATES = ("i", "f", "c", "o_gate")  # in torch's order
START = 0
"""What every sequence begins from: an ordinary token, as in the authors' program."""
PUBLISHED = "4ed01becf5aa1a5741b5851162670249fd34e6a8cae7d0ecd062869a69a7062a"
"""`Oracle.digest` of the oracle that the authors have published."""
FLOATS_AT_ONCE = 1 << 22
"""Logits that are computed together."""


class Oracle:
    """A distribution over sequences of tokens that is known.

    Parameters
    ----------
    weights : mapping of str to ndarray
        By the names of `KEYS`, float32.
    device : str or torch.device
        Where it is computed.

    Attributes
    ----------
    network : LSTMGenerator
    vocab_size, embedding, hidden : int
        V, E and H.
    digest : str
        SHA-256 of all weights: equal digests are equal distributions.
    """

    start = START

    def __init__(self, weights: Mapping[str, np.ndarray], device: torch.device | str = "cpu") -> None:
        self.weights = dict(weights)
        self.vocab_size, self.embedding = self.weights["emb"].shape
        self.hidden = len(self.weights["Ui"])
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):  # layers draw weights when they are built
            self.network = LSTMGenerator(self.vocab_size, embedding=self.embedding, hidden=self.hidden)
        self.network.load_state_dict(_state(self.weights))
        self.network.requires_grad_(False).eval().to(self.device)
        self.digest = checkpoint.digest({name: torch.from_numpy(self.weights[name]) for name in KEYS})

    @classmethod
    def random(cls, seed: int, *, vocab_size: int = 5000, embedding: int = 32, hidden: int = 32) -> Oracle:
        """An oracle whose weights are drawn from N(0, 1); the same seed gives the same on every machine.

        Raises
        ------
        UsageError
            A size that is too small, or a negative seed.
        """
        sizes = {"V": vocab_size, "E": embedding, "H": hidden}
        for name, value, least in (("vocab_size", vocab_size, 2), ("embedding", embedding, 1), ("hidden", hidden, 1)):
            if value < least:
                raise UsageError(f"{name} of an oracle must be at least {least}, not {value!r}")
        if seed < 0:
            raise UsageError(f"the seed of an oracle must be 0 or more, not {seed!r}")
        rng = np.random.default_rng(seed)
        shapes = {name: tuple(sizes[letter] for letter in letters) for name, letters in KEYS.items()}
        return cls({name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Oracle:
        """An oracle from an ``.npz`` in the layout of `KEYS`; other arrays in it are left alone.

        Raises
        ------
        UsageError
            No such file, or not what is described here.
        """
        path = Path(path)
        arrays = _arrays(path)
        if missing := [name for name in KEYS if name not in arrays]:
            raise UsageError(f"{path} is no oracle: it has no array {', '.join(missing)}")
        for name, letters in KEYS.items():
            array = arrays[name]
            if array.dtype.kind != "f" or array.ndim != len(letters) or not array.size:
                raise UsageError(
                    f"the array {name} of {path} must hold decimal numbers in {len(letters)} dimensions "
                    f"({' × '.join(letters)}); it has shape {array.shape} and type {array.dtype}"
                )
        sizes = {"V": arrays["emb"].shape[0], "E": arrays["emb"].shape[1], "H": arrays["Ui"].shape[0]}
        weights = {}
        for name, letters in KEYS.items():
            wanted = tuple(sizes[letter] for letter in letters)
            if arrays[name].shape != wanted:
                raise UsageError(
                    f"the array {name} of {path} must have shape {wanted}, as emb and Ui say, not {arrays[name].shape}"
                )
            with np.errstate(over="ignore"):  # told below
                weights[name] = np.ascontiguousarray(arrays[name], dtype=np.float32)
            if not np.isfinite(weights[name]).all():
                raise UsageError(f"the array {name} of {path} has numbers that are not finite")
        if sizes["V"] < 2:
            raise UsageError(f"{path} is no oracle: it has {sizes['V']} token, and 2 are the least")
        return cls(weights)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write an ``.npz`` that `read` reads.

        Raises
        ------
        Failure
            The file cannot be written.
        """
        stream = io.BytesIO()
        arrays: dict[str, Any] = self.weights
        np.savez(stream, **arrays)
        files.write_whole(path, stream.getvalue())

    def to(self, device: torch.device | str) -> Oracle:
        """The same on another device."""
        return Oracle(self.weights, device)

    @property
    def published(self) -> bool:
        """Whether it is the one that the authors have published."""
        return self.digest == PUBLISHED

    def sample(self, n: int, length: int, rng: torch.Generator) -> Tensor:
        """Draw sequences.

        Parameters
        ----------
        n, length : int
            How many, and T.
        rng : torch.Generator
            On the oracle's device.

        Returns
        -------
        Tensor (n, T), int64
            On the oracle's device, without the start token.
        """
        start = torch.full((n,), self.start, device=self.device)
        return sampling.sample(self.network, start, length, rng)

    def nll(self, ids: Tensor) -> np.ndarray:
        """NLL_oracle of single sequences.

        Parameters
        ----------
        ids : Tensor (M, T), int64
            Tokens of the oracle's vocabulary, on any device.

        Returns
        -------
        ndarray (M,), float64
            −1/T Σ_t log G_oracle(y_t | Y_{1:t−1}), in nats per token; the tables of the paper have it per token, its
            equation the sum.
        """
        start = torch.full((len(ids),), self.start, device=self.device)
        return per_token_nll(self.network, ids.to(self.device), start)


def per_token_nll(generator: Any, ids: Tensor, start: Tensor, *, temperature: float = 1.0) -> np.ndarray:
    """−1/T Σ_t log G(y_t | Y_{1:t−1}) of sequences that have no END, each by itself.

    They are read token by token, as samples are drawn: the LSTM kernels of a GPU round more than its other products.

    Parameters
    ----------
    generator : Generator
    ids : Tensor (M, T), int64
    start : Tensor (M,), int64
        Both on the generator's device.
    temperature : float
        Divides the logits: the likelihood of what is sampled at this temperature.

    Returns
    -------
    ndarray (M,), float64
        In nats per token.
    """
    rows = max(1, FLOATS_AT_ONCE // generator.vocab_size)
    found = []
    with evaluating(generator):
        for first in range(0, len(ids), rows):
            block, token = ids[first : first + rows], start[first : first + rows]
            state = generator.start(len(block))
            total = torch.zeros(len(block), dtype=torch.float64, device=block.device)
            for t in range(block.shape[1]):
                logits, state = generator.step(token, state)
                token = block[:, t]
                logits = sampling.narrow(logits, temperature=temperature)[:, None]  # (B, 1, V)
                total -= sequence_log_prob(logits, token[:, None], pad_id=-1)[:, 0].double()
            found.append(total.cpu().numpy() / block.shape[1])
    return np.concatenate(found) if found else np.empty(0)


def _state(weights: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The weights by the names of `LSTMGenerator`, whose products are transposed."""

    def gates(letter: str) -> Tensor:
        return torch.from_numpy(np.concatenate([weights[f"{letter}{gate}"].T for gate in GATES]))

    return {
        "embedding.weight": torch.from_numpy(weights["emb"]),
        "lstm.weight_ih_l0": gates("W"),
        "lstm.weight_hh_l0": gates("U"),
        "lstm.bias_ih_l0": gates("b"),
        "lstm.bias_hh_l0": torch.zeros(len(GATES) * len(weights["bi"])),
        "output.weight": torch.from_numpy(np.ascontiguousarray(weights["W_out"].T)),
        "output.bias": torch.from_numpy(weights["b_out"]),
    }


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` that an oracle has."""
    try:
        with open(path, "rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise UsageError(f"{path} is not a .npz file; an oracle is one with the arrays {', '.join(KEYS)}")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as found:
                arrays = {name: found[name] for name in KEYS if name in found.files}
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError) as error:
        raise UsageError(f"{path} cannot be read as an oracle: {error}") from error
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
