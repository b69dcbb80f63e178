"""The LSTM generator of SeqGAN (Yu et al. 2017, arXiv 1609.05473, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_music.errors import UsageError
from seqgan_music.modes import Dropout


@dataclass(frozen=True, slots=True, eq=False)
class LSTMState:
    """Hidden and cell state of every layer, (B, L, H) each, with the first layer's input gates by token.

    The gates' share that comes from a token depends on the token alone, so it is looked up in `gates_of_token` (V, 4H),
    which holds as long as the weights stand still.
    """

    hidden: Tensor
    cell: Tensor
    gates_of_token: Tensor

    def __getitem__(self, rows: Any) -> LSTMState:
        return LSTMState(self.hidden[rows], self.cell[rows], self.gates_of_token)

    def cat(self, others: Sequence[LSTMState]) -> LSTMState:
        """These rows, then those of the others."""
        states = (self, *others)
        return LSTMState(
            torch.cat([state.hidden for state in states]),
            torch.cat([state.cell for state in states]),
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
    """

    def __init__(
        self,
        vocab_size: int,
        never: Sequence[int] = (),
        *,
        embedding: int = 64,
        hidden: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in {"embedding": embedding, "hidden": hidden, "layers": layers}.items():
            if value < 1:
                raise UsageError(f"generator.{name} must be at least 1, not {value!r}")
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, vocab_size)
        self.dropout = Dropout(dropout, "generator.dropout")
        mask = torch.zeros(vocab_size)
        mask[list(never)] = -torch.inf
        # A layer's state, gates and their temporaries; logits, probabilities and their sums.
        self.floats_per_row = 12 * hidden * layers + 4 * vocab_size
        self.register_buffer("never", mask, persistent=False)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw weights: embedding N(0, 1), the others uniform within ±1/√fan-in; forget gates start open by 1."""
        nn.init.normal_(self.embedding.weight, generator=rng)
        hidden = self.lstm.hidden_size
        for name, parameter in self.lstm.named_parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5, generator=rng)
            if name.startswith("bias_ih"):
                parameter[hidden : 2 * hidden] += 1.0
        for parameter in self.output.parameters():
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
        read = torch.cat([start[:, None], ids[:, :-1]], 1)  # (B, T)
        hidden, _ = self.lstm(self.dropout(self.embedding(read)))  # (B, T, H)
        return self._logits(self.dropout(hidden))

    def start(self, batch: int) -> LSTMState:
        """State of `batch` rows before anything has been read."""
        lstm = self.lstm
        zeros = self.output.weight.new_zeros(batch, lstm.num_layers, lstm.hidden_size)
        gates = self._gates(self.embedding.weight, 0)  # (V, 4H)
        return LSTMState(zeros, zeros, gates)

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
        gates = state.gates_of_token[ids]  # (B, 4H)
        for layer in range(lstm.num_layers):
            if layer:
                gates = self._gates(hiddens[-1], layer)
            gates = torch.addmm(gates, state.hidden[:, layer], getattr(lstm, f"weight_hh_l{layer}").t())
            into, forget, candidate, out = gates.chunk(4, 1)
            cell = forget.sigmoid() * state.cell[:, layer] + into.sigmoid() * candidate.tanh()
            hiddens.append(out.sigmoid() * cell.tanh())
            cells.append(cell)
        logits = self._logits(hiddens[-1])
        return logits, LSTMState(torch.stack(hiddens, 1), torch.stack(cells, 1), state.gates_of_token)

    def _gates(self, below: Tensor, layer: int) -> Tensor:
        """Share (B, 4H) of a layer's gates that comes from the layer below."""
        bias = getattr(self.lstm, f"bias_ih_l{layer}") + getattr(self.lstm, f"bias_hh_l{layer}")
        return F.linear(below, getattr(self.lstm, f"weight_ih_l{layer}"), bias)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.output(hidden) + self.never
        return logits
