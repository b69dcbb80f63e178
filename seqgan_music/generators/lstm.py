"""The LSTM generator of SeqGAN (Yu et al. 2017, arXiv 1609.05473, section 3.2), and what lets it repeat itself.

An LSTM hardly learns to bring back the bar it played, for that is many tokens ago. With `lookback` it is shown, before
every step, the tokens that stood so many steps before the one to come, and whether the last token was such a
repetition: the Lookback RNN (Waite 2016, "Generating Long-Term Structure in Songs and Stories").
Its repeat labels are here a term in the logits: from its output the network says how much likelier each of those tokens
is to come again, in the manner of a pointer network (Vinyals et al. 2015, arXiv 1506.03134).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_music.errors import UsageError
from seqgan_music.modes import Dropout

LOOKBACK_NARROWER = 4  # by this an embedding of a token looked back at is narrower than that of the last token


@dataclass(frozen=True, slots=True, eq=False)
class LSTMState:
    """Hidden and cell state of every layer, (B, L, H) each, with the first layer's input gates by token.

    The gates' share that comes from a token depends on the token alone, so it is looked up in `gates_of_token`, which
    holds as long as the weights stand still: V rows of 4H for the last token, V + 1 for each token looked back at.
    `past` (B, M) are the last M tokens, as far as the network looks back.
    """

    hidden: Tensor
    cell: Tensor
    past: Tensor
    gates_of_token: Tensor

    def __getitem__(self, rows: Any) -> LSTMState:
        return LSTMState(self.hidden[rows], self.cell[rows], self.past[rows], self.gates_of_token)

    def cat(self, others: Sequence[LSTMState]) -> LSTMState:
        """These rows, then those of the others."""
        states = (self, *others)
        return LSTMState(
            torch.cat([state.hidden for state in states]),
            torch.cat([state.cell for state in states]),
            torch.cat([state.past for state in states]),
            self.gates_of_token,
        )


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
        hidden, _ = self.lstm(embedded)  # (B, T, H)
        return self.dropout(hidden), torch.stack(ago, 2) if ago else None

    def start(self, batch: int) -> LSTMState:
        """State of `batch` rows before anything has been read."""
        lstm = self.lstm
        zeros = self.output.weight.new_zeros(batch, lstm.num_layers, lstm.hidden_size)
        past = torch.full((batch, max(self.lookback) + 1 if self.lookback else 0), self.vocab_size, device=zeros.device)
        widths = [table.embedding_dim for table in self._tables()]
        columns = self._input_weight().split([*widths, len(self.lookback)], 1)
        gates = [F.linear(table.weight, part) for table, part in zip(self._tables(), columns, strict=False)]
        gates[0] = gates[0] + self._bias(0)
        return LSTMState(zeros, zeros, past, torch.cat(gates))

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
        lstm = self.lstm
        hiddens: list[Tensor] = []
        cells: list[Tensor] = []
        past, ago = state.past, None
        if self.lookback:
            past = torch.cat([past[:, 1:], ids[:, None]], 1)
            ago = torch.stack([past[:, -lag] for lag in self.lookback], 1)  # (B, lags), of the token to come
            first = self.vocab_size + (self.vocab_size + 1) * torch.arange(len(self.lookback), device=ids.device)
            gates = F.embedding_bag(torch.cat([ids[:, None], ago + first], 1), state.gates_of_token, mode="sum")
            repeated = torch.stack([past[:, -1 - lag] == ids for lag in self.lookback], 1).to(gates.dtype)
            gates = torch.addmm(gates, repeated, self._input_weight()[:, -len(self.lookback) :].t())
        else:
            gates = state.gates_of_token[ids]  # (B, 4H)
        for layer in range(lstm.num_layers):
            if layer:
                gates = self._gates(hiddens[-1], layer)
            gates = torch.addmm(gates, state.hidden[:, layer], getattr(lstm, f"weight_hh_l{layer}").t())
            into, forget, candidate, out = gates.chunk(4, 1)
            cell = forget.sigmoid() * state.cell[:, layer] + into.sigmoid() * candidate.tanh()
            hiddens.append(out.sigmoid() * cell.tanh())
            cells.append(cell)
        logits = self._logits(hiddens[-1], ago)
        return logits, LSTMState(torch.stack(hiddens, 1), torch.stack(cells, 1), past, state.gates_of_token)

    def _gates(self, below: Tensor, layer: int) -> Tensor:
        """Share (B, 4H) of a layer's gates that comes from the layer below it."""
        return F.linear(below, getattr(self.lstm, f"weight_ih_l{layer}"), self._bias(layer))

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
        logits = F.linear(hidden, self.output.weight, self._output_bias())
        if self.repeat is not None and ago is not None:
            again = F.pad(logits, (0, 1)).scatter_add(-1, ago, self.repeat(hidden))
            logits = again[..., :-1]  # without "before the sequence began"
        return logits
