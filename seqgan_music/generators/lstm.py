"""The LSTM generator of SeqGAN (Yu et al. 2017, arXiv 1609.05473, section 3.2), and what lets it repeat itself.

An LSTM hardly learns to bring back the bar it played, for that is many tokens ago. With `lookback` it is shown, before
every step, the tokens that stood so many steps before the one to come, and whether the last token was such a
repetition: the Lookback RNN (Waite 2016, "Generating Long-Term Structure in Songs and Stories").
Its repeat labels are here a term in the logits: from its output the network says how much likelier each of those tokens
is to come again, in the manner of a pointer network (Vinyals et al. 2015, arXiv 1506.03134).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_music import jit
from seqgan_music.errors import UsageError
from seqgan_music.generators.lstm_kernels import update_cells
from seqgan_music.modes import Dropout

LOOKBACK_NARROWER = 4  # by this an embedding of a token looked back at is narrower than that of the last token
CELLS_A_THREAD = 2**15  # fewer are updated sooner than another thread begins


class StillWeights:
    """What steps look up and multiply by while the weights stand still, and room for what they compute.

    The share of the first layer's gates that comes from a token depends on the token alone, so it is looked up in
    `tables[0]`: V rows of 4H for the last token, V + 1 for each token looked back at, one for each repetition, and one
    of zeros. A further layer's table is its bias. Products are in `product_dtype`, tables in the dtype of the weights.
    """

    def __init__(
        self, tables: list[Tensor], recurrent: list[Tensor], below: list[Tensor], output: Tensor, bias: Tensor
    ) -> None:
        self.tables = tables  # (·, 4H) each
        self.recurrent = recurrent  # (H, 4H) each
        self.below = below  # (H, 4H) of each layer but the first
        self.output, self.bias = output, bias  # (H, V), (V,)
        self._rooms: dict[tuple[str, int], Tensor] = {}  # of each thread

    def room(self, name: str, rows: int, columns: int) -> Tensor:
        """A product (rows, columns) to be written, where the last of this name stood: fresh memory costs more than
        what is written there."""
        mine = name, threading.get_ident()
        kept = self._rooms.get(mine)
        if kept is None or len(kept) < rows:
            kept = self._rooms[mine] = self.output.new_empty(rows, columns)
        return kept[:rows]


@dataclass(frozen=True, slots=True, eq=False)
class LSTMState:
    """Hidden and cell state of every layer, (L, B, H) each, and the last M tokens `past` (B, M), as far as the network
    looks back."""

    hidden: Tensor
    cell: Tensor
    past: Tensor
    weights: StillWeights

    def __len__(self) -> int:
        return len(self.past)

    def __getitem__(self, rows: Any) -> LSTMState:
        return LSTMState(self.hidden[:, rows], self.cell[:, rows], self.past[rows], self.weights)

    def __setitem__(self, rows: Any, other: LSTMState) -> None:
        """Copy another state into some rows, as often in turn as it goes into them."""
        mine = self[rows]
        for to, of, dimension in (
            (mine.hidden, other.hidden, 1),
            (mine.cell, other.cell, 1),
            (mine.past, other.past, 0),
        ):
            to.unflatten(dimension, (-1, len(other))).copy_(of.unsqueeze(dimension))

    def cat(self, others: Sequence[LSTMState]) -> LSTMState:
        """These rows, then those of the others."""
        states = (self, *others)
        return LSTMState(
            torch.cat([state.hidden for state in states], 1),
            torch.cat([state.cell for state in states], 1),
            torch.cat([state.past for state in states]),
            self.weights,
        )

    def room(self, rows: int) -> LSTMState:
        """A state of so many rows with nothing in it yet."""
        layers, _, width = self.hidden.shape
        hidden = self.weights.output.new_empty(layers, rows, width)
        cell, past = self.cell.new_empty(layers, rows, width), self.past.new_empty(rows, self.past.shape[1])
        return LSTMState(hidden, cell, past, self.weights)


class LSTMGenerator(nn.Module):
    """Token embedding, LSTM, linear layer to logits.

    Parameters
    ----------
    vocab_size : int
        V.
    never : sequence of int
        Ids whose logits are −inf, because they are never drawn: START and PAD.
    embedding, hidden, layers : int
        Width of the embedding, width of the LSTM (H), number of its layers.
    dropout : float
        Probability of dropping an embedding or an LSTM output, in train mode only.
    lookback : list of int
        Tokens that the network is shown: a bar of sixteenths in 4/4 is 16 tokens ago. Empty is the paper's network.
    """

    never: Tensor
    product_dtype: torch.dtype | None = None

    def __init__(
        self,
        vocab_size: int,
        never: Sequence[int] = (),
        *,
        embedding: int = 64,
        hidden: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
        lookback: Sequence[int] = (),
    ) -> None:
        super().__init__()
        for name, value in {"embedding": embedding, "hidden": hidden, "layers": layers}.items():
            if value < 1:
                raise UsageError(f"generator.{name} must be at least 1, not {value!r}")
        if not isinstance(lookback, list | tuple) or any(
            isinstance(lag, bool) or not isinstance(lag, int) or lag < 1 for lag in lookback
        ):
            raise UsageError(f"generator.lookback must be numbers of tokens such as [8, 16], not {lookback!r}")
        self.vocab_size = vocab_size
        self.lookback = tuple(sorted(set(lookback)))
        self.embedding = nn.Embedding(vocab_size, embedding)
        narrow = max(1, embedding // LOOKBACK_NARROWER)
        # One more than the vocabulary: before a sequence began.
        self.lookback_embeddings = nn.ModuleList(nn.Embedding(vocab_size + 1, narrow) for _ in self.lookback)
        self.lstm = nn.LSTM(embedding + (narrow + 1) * len(self.lookback), hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, vocab_size)
        self.repeat = nn.Linear(hidden, len(self.lookback)) if self.lookback else None
        self.dropout = Dropout(dropout, "generator.dropout")
        mask = torch.zeros(vocab_size)
        mask[list(never)] = -torch.inf
        # A layer's state, gates and their temporaries; logits, probabilities and their sums.
        self.floats_per_row = 12 * hidden * layers + 4 * vocab_size + 2 * max(self.lookback, default=0)
        self.register_buffer("never", mask, persistent=False)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw weights: embedding N(0, 1), the others uniform within ±1/√fan-in; forget gates start open by 1."""
        for table in self._tables():
            nn.init.normal_(table.weight, generator=rng)
        hidden = self.lstm.hidden_size
        for name, parameter in self.lstm.named_parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5, generator=rng)
            if name.startswith("bias_ih"):
                parameter[hidden : 2 * hidden] += 1.0
        outputs = [self.output] if self.repeat is None else [self.output, self.repeat]
        for parameter in (parameter for layer in outputs for parameter in layer.parameters()):
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5, generator=rng)

    def forward(self, ids: Tensor, start: Tensor) -> Tensor:
        """Logits of every token given those before it.

        Parameters
        ----------
        ids : Tensor (B, T), int64
        start : Tensor (B,), int64
            Start token of each row.

        Returns
        -------
        Tensor (B, T, V)
            ``[:, t]`` belongs to ``ids[:, t]``.
        """
        hidden, ago = self._read(ids, start)
        return self._logits(hidden, ago)

    def factors(self, ids: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Hidden (B, T, H), weight (V, H) and bias (V,) of `forward`'s logits; None with `lookback`, which adds to
        them."""
        return None if self.lookback else (self._read(ids, start)[0], self.output.weight, self._output_bias())

    def _read(self, ids: Tensor, start: Tensor) -> tuple[Tensor, Tensor | None]:
        """Outputs (B, T, H) of the LSTM, and the tokens (B, T, lags) that may come again."""
        length = ids.shape[1]
        far = max(self.lookback, default=0)
        before = ids.new_full((len(ids), far), self.vocab_size)
        read = torch.cat([before, start[:, None], ids[:, :-1]], 1)  # (B, M − 1 + T)
        last = read[:, far:]
        inputs = [self.embedding(last)]
        ago = [read[:, far + 1 - lag :][:, :length] for lag in self.lookback]  # of the token to come
        inputs += [table(tokens) for table, tokens in zip(self.lookback_embeddings, ago, strict=True)]
        embedded = self.dropout(torch.cat(inputs, 2) if ago else inputs[0])
        if ago:
            repeated = [last == read[:, far - lag :][:, :length] for lag in self.lookback]
            embedded = torch.cat([embedded, torch.stack(repeated, 2).to(embedded.dtype)], 2)
        short = self.product_dtype
        # Without the cache of weights in short, which would be part of a CUDA graph; not every device knows autocast.
        device = embedded.device.type
        with torch.autocast(device, short, cache_enabled=False) if short is not None else nullcontext():
            hidden, _ = self.lstm(embedded)  # (B, T, H)
        return self.dropout(hidden.to(embedded.dtype)), torch.stack(ago, 2) if ago else None

    def start(self, batch: int) -> LSTMState:
        """State of `batch` rows before anything has been read."""
        lstm = self.lstm
        dtype = self.product_dtype or self.output.weight.dtype
        cell = self.output.weight.new_zeros(lstm.num_layers, batch, lstm.hidden_size)
        past = torch.full((batch, max(self.lookback) + 1 if self.lookback else 0), self.vocab_size, device=cell.device)
        widths = [table.embedding_dim for table in self._tables()]
        columns = self._input_weight().split([*widths, len(self.lookback)], 1)
        gates = [F.linear(table.weight, part) for table, part in zip(self._tables(), columns, strict=False)]
        gates[0] = gates[0] + self._bias(0)
        if self.lookback:
            gates += [columns[-1].t(), cell.new_zeros(1, 4 * lstm.hidden_size)]
        further = range(1, lstm.num_layers)
        weights = StillWeights(
            [torch.cat(gates), *(self._bias(layer)[None] for layer in further)],
            [getattr(lstm, f"weight_hh_l{layer}").t().to(dtype) for layer in range(lstm.num_layers)],
            [getattr(lstm, f"weight_ih_l{layer}").t().to(dtype) for layer in further],
            self.output.weight.t().to(dtype),
            self._output_bias().to(dtype),
        )
        return LSTMState(torch.zeros_like(cell, dtype=dtype), cell, past, weights)

    def step(self, ids: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Read one token a row, without dropout.

        Parameters
        ----------
        ids : Tensor (B,), int64
        state : LSTMState
            Of B rows.

        Returns
        -------
        logits : Tensor (B, V)
            Of the next token.
        state : LSTMState
            After the token.
        """
        past, rows, ago = self._looked_up(ids, state.past)
        after, weights = self._after(rows, state, past), state.weights
        logits = torch.addmm(weights.bias, after.hidden[-1], weights.output).to(self.output.weight.dtype)
        return self._repeated(logits, after.hidden[-1], ago), after

    def advance(self, ids: Tensor, state: LSTMState) -> Tensor:
        """`step` in place, without gradients.

        Parameters
        ----------
        ids : Tensor (B,), int64
        state : LSTMState
            Of B rows; afterwards the state after the token.

        Returns
        -------
        Tensor (B, V)
            Logits of the next token, in `product_dtype`; they hold until the next call.
        """
        weights, (past, rows, ago) = state.weights, self._looked_up(ids, state.past)
        if ids.device.type == "cpu" and state.hidden.dtype in jit.FLOATS and jit.available():
            state.past.copy_(past)
            for layer, table in enumerate(weights.tables):
                products = weights.room("gates", len(ids), 4 * self.lstm.hidden_size)
                torch.mm(state.hidden[layer], weights.recurrent[layer], out=products)
                if layer:
                    products.addmm_(state.hidden[layer - 1], weights.below[layer - 1])
                    rows = torch.zeros(len(ids), 1, dtype=torch.int64)
                _update_cells(products, table, rows, state.cell[layer], state.hidden[layer])
        else:
            state[:] = self._after(rows, state, past)
        logits = weights.room("logits", len(ids), self.vocab_size)
        torch.addmm(weights.bias, state.hidden[-1], weights.output, out=logits)
        return self._repeated(logits, state.hidden[-1], ago)

    def _after(self, rows: Tensor, state: LSTMState, past: Tensor) -> LSTMState:
        """The state after tokens that have these rows in the first layer's table."""
        weights = state.weights
        hiddens: list[Tensor] = []
        cells: list[Tensor] = []
        for layer, table in enumerate(weights.tables):
            gates = _plus_product(table, hiddens[-1], weights.below[layer - 1]) if layer else _sum_of_rows(table, rows)
            gates = _plus_product(gates, state.hidden[layer], weights.recurrent[layer])
            into, forget, candidate, out = gates.chunk(4, 1)
            cell = forget.sigmoid() * state.cell[layer] + into.sigmoid() * candidate.tanh()
            hiddens.append((out.sigmoid() * cell.tanh()).to(state.hidden.dtype))
            cells.append(cell)
        return LSTMState(torch.stack(hiddens), torch.stack(cells), past, weights)

    def _looked_up(self, ids: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The last tokens (B, M) with these, rows (B, ·) of the first layer's table, and the tokens (B, lags) that may
        come again."""
        if not self.lookback:
            return past, ids[:, None], None
        past = torch.cat([past[:, 1:], ids[:, None]], 1)
        ago = torch.stack([past[:, -lag] for lag in self.lookback], 1)
        repeated = torch.stack([past[:, -1 - lag] == ids for lag in self.lookback], 1)
        lags = torch.arange(len(self.lookback), device=ids.device)
        first = self.vocab_size + (self.vocab_size + 1) * lags
        columns = self.vocab_size + (self.vocab_size + 1) * len(self.lookback) + lags
        none = columns[-1] + 1  # zeros, in place of a repetition
        return past, torch.cat([ids[:, None], ago + first, torch.where(repeated, columns, none)], 1), ago

    def _bias(self, layer: int) -> Tensor:
        return self.lstm.get_parameter(f"bias_ih_l{layer}") + self.lstm.get_parameter(f"bias_hh_l{layer}")

    def _output_bias(self) -> Tensor:
        """Of the logits (V,): −∞ joins it, for the logits are many more numbers."""
        return self.output.bias + self.never

    def _input_weight(self) -> Tensor:
        """Of the first layer (4H, inputs): for the last token, for each looked back at, for each repetition."""
        return self.lstm.get_parameter("weight_ih_l0")

    def _tables(self) -> list[Any]:
        """The embeddings of the last token and of those looked back at."""
        return [self.embedding, *self.lookback_embeddings]

    def _logits(self, hidden: Tensor, ago: Tensor | None) -> Tensor:
        """Logits (..., V) from outputs (..., H); `ago` (..., lags) are the tokens that may come again."""
        return self._repeated(F.linear(hidden, self.output.weight, self._output_bias()), hidden, ago)

    def _repeated(self, logits: Tensor, hidden: Tensor, ago: Tensor | None) -> Tensor:
        """Add to logits (..., V), in place, what speaks for tokens `ago` (..., lags) to come again."""
        if self.repeat is None or ago is None:
            return logits
        began = ago < self.vocab_size
        again = torch.where(began, self.repeat(hidden.to(self.output.weight.dtype)), 0.0).to(logits.dtype)
        return logits.scatter_add_(-1, torch.where(began, ago, 0), again)


def _sum_of_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Sums (B, F) of the rows (B, R) of a table (·, F)."""
    return F.embedding_bag(rows, table, mode="sum") if rows.shape[1] > 1 else table[rows[:, 0]]


def _plus_product(gates: Tensor, hidden: Tensor, weight: Tensor) -> Tensor:
    """gates + hidden · weight, with the sum in the dtype of the gates."""
    if hidden.dtype == gates.dtype:
        return torch.addmm(gates, hidden, weight)
    return gates + hidden @ weight


def _update_cells(products: Tensor, table: Tensor, rows: Tensor, cell: Tensor, hidden: Tensor) -> None:
    """`update_cells` of all rows."""
    arrays = jit.array(products), jit.array(table), jit.array(rows), jit.array(cell), jit.array(hidden)
    single = None if cell.dtype == torch.float64 else True
    half = True if hidden.dtype == torch.bfloat16 else None

    def work(first: int, last: int) -> None:
        update_cells(*arrays, first, last, single, half)

    jit.in_threads(work, len(cell), least=CELLS_A_THREAD // cell.shape[1] + 1)
