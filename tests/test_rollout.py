import itertools
import threading
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.modes import Dropout
from seqgan_music.rollout import action_values, blocks, complete, read_prefixes, rollout_uniforms, sections

END, PAD = 2, 3
START = torch.tensor([4, 4])


@dataclass
class Last:
    """State of `Bigram`: the last token."""

    token: torch.Tensor

    def __getitem__(self, rows):
        return Last(self.token[rows])

    def cat(self, others):
        return Last(torch.cat([self.token, *(other.token for other in others)]))


class Bigram(nn.Module):
    """A policy whose next token depends on the last one alone, by a table of probabilities."""

    vocab_size = 5
    floats_per_row = 5

    def __init__(self, seed=0, ends=True):
        super().__init__()
        probability = torch.rand(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        probability[:, [PAD, 4]] = 0
        if not ends:
            probability[:, END] = 0
        self.probability = probability / probability.sum(1, keepdim=True)

    def start(self, batch):
        return Last(torch.zeros(batch, dtype=torch.int64))

    def step(self, ids, state):
        return self.probability[ids].log(), Last(ids)


def worth(ids):
    """A reward in [0, 1] that no two sequences share."""
    place = 5 ** torch.arange(ids.shape[1], dtype=torch.float64)
    return (ids * place).sum(1) / (5 ** ids.shape[1])


def reward(ids, group, start):
    return worth(ids)


def exact_values(policy, ids):
    """Expected reward of every prefix by enumerating all completions."""
    length = ids.shape[1]

    def expectation(prefix):
        if len(prefix) == length:
            return float(worth(torch.tensor([prefix])))
        if END in prefix:
            return expectation([*prefix, PAD])
        return sum(
            float(p) * expectation([*prefix, token]) for token, p in enumerate(policy.probability[prefix[-1]]) if p > 0
        )

    return torch.tensor([[expectation(row[: t + 1]) for t in range(length)] for row in ids.tolist()])


@pytest.mark.parametrize("ids", [[[0, 1, 1, 0], [1, 0, 0, 0]], [[0, END, PAD, PAD], [1, 1, 1, END]]])
def test_values_are_the_exact_expectation(ids):
    policy, ids = Bigram(), torch.tensor(ids)
    found = action_values(policy, reward, ids, START, 20_000, torch.Generator().manual_seed(0), end_id=END, pad_id=PAD)
    torch.testing.assert_close(found.float(), exact_values(policy, ids), atol=0.008, rtol=0)


def test_the_last_value_is_the_reward_of_the_sequence_itself():
    ids = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0]])
    values = action_values(Bigram(), reward, ids, START, 3, torch.Generator(), end_id=END, pad_id=PAD)
    assert torch.equal(values[:, -1], worth(ids))


def test_a_sequence_that_has_ended_is_worth_itself_from_there_on():
    ids = torch.tensor([[0, END, PAD, PAD, PAD], [1, 0, 1, END, PAD]])
    values = action_values(Bigram(), reward, ids, START, 3, torch.Generator(), end_id=END, pad_id=PAD)
    torch.testing.assert_close(values[0, 1:], worth(ids)[0].expand(4))
    torch.testing.assert_close(values[1, 3:], worth(ids)[1].expand(2))


def test_a_reward_that_tells_row_and_prefix_lands_at_that_row_and_position():
    # The policy repeats its last token for ever, so a completion tells from which row and prefix it came.
    policy = Bigram(ends=False)
    policy.vocab_size = 40
    policy.probability = torch.eye(40, dtype=torch.float64)
    batch, length = 3, 7
    ids = torch.arange(batch * length).view(batch, length) + 5

    def last_token(completed, group, start):
        return completed[:, -1].double()

    values = action_values(policy, last_token, ids, ids.new_zeros(batch), 4, torch.Generator())
    assert torch.equal(values, ids.double())


def test_values_are_arithmetic_means_over_rollouts():
    policy, ids = Bigram(), torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0]])
    seen = []

    def noting(completed, group, start):
        seen.append(completed)
        return worth(completed)

    rng = torch.Generator().manual_seed(3)
    values = action_values(policy, noting, ids, START, 5, rng, end_id=END, pad_id=PAD, memory_budget=2**30)
    lanes = seen[1].view(3, 5, 2, 4)  # (T - 1, N, B, T)
    torch.testing.assert_close(values[:, :-1], worth(lanes.view(-1, 4)).view(3, 5, 2).mean(1).t())


def test_completions_keep_their_prefix_and_never_go_on_after_end():
    policy, rng = Bigram(), torch.Generator().manual_seed(0)
    ids = torch.randint(0, 2, (6, 9), generator=rng)
    uniforms = rollout_uniforms(6, 9, 8, rng, torch.float64)
    prefixes = read_prefixes(policy, ids, START.repeat(3))
    lanes = complete(policy, ids, prefixes, uniforms, range(1, 9), range(8), end_id=END, pad_id=PAD)
    for t, n, b in itertools.product(range(8), range(8), range(6)):
        row = lanes[t, n, b].tolist()
        assert row[: t + 1] == ids[b, : t + 1].tolist()
        after = row[row.index(END) + 1 :] if END in row else []
        assert set(after) <= {PAD}
        assert PAD not in row[: len(row) - len(after)]
    assert (lanes[0] != lanes[0, :1]).any(), "roll-outs of one prefix differ"


@pytest.mark.parametrize("options", [{}, {"lookback": (1, 3)}, {"layers": 2}])
def test_in_place_and_one_state_after_another_give_the_same_lanes(options, back_end):
    class Plain(LSTMGenerator):
        def step(self, ids, state):
            return super().step(ids, state)

    ids = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 0, END, PAD, PAD, PAD], [END, PAD, PAD, PAD, PAD, PAD]])
    uniforms = rollout_uniforms(3, 6, 7, torch.Generator().manual_seed(1), torch.float64)
    found = []
    for kind in (LSTMGenerator, Plain):
        generator = kind(5, (PAD, 4), embedding=3, hidden=4, **options).double().eval()
        generator.reset_parameters(torch.Generator().manual_seed(0))
        with torch.no_grad():
            prefixes = read_prefixes(generator, ids, torch.tensor([4, 4, 4]))
            lanes = complete(generator, ids, prefixes, uniforms, range(2, 5), range(1, 6), end_id=END, pad_id=PAD)
        found.append(lanes)
    assert torch.equal(*found)
    assert len(found[0].view(-1, 6).unique(dim=0)) > 5


def test_a_policy_may_keep_the_very_tokens_it_is_given():
    class Trigram(Bigram):
        """Its next token depends on the last but one, which its state holds as it was given."""

        def step(self, ids, state):
            return self.probability[state.token].log(), Last(ids)

    policy, rng = Trigram(ends=False), torch.Generator().manual_seed(0)
    policy.probability = torch.eye(5, dtype=torch.float64)[[1, 0, 1, 0, 0]]
    ids = torch.tensor([[0, 1, 1, 0, 0, 1, 1]])
    uniforms = rollout_uniforms(1, 7, 2, rng, torch.float64)
    prefixes = read_prefixes(policy, ids, START[:1])
    lanes = complete(policy, ids, prefixes, uniforms, range(2, 7), range(2))
    assert (lanes == ids).all(), "each token is the other one of that before the last"


@pytest.mark.parametrize("lookback", [(), (1, 3)])
@pytest.mark.parametrize("budget", [1, 2_000, 20_000, 10**9])
def test_the_memory_budget_changes_no_value(budget, lookback, back_end):
    generator = LSTMGenerator(5, (PAD, 4), embedding=3, hidden=4, lookback=lookback).double()
    generator.reset_parameters(torch.Generator().manual_seed(0))
    ids = torch.tensor([[0, 1, 1, 0, 1], [1, 0, END, PAD, PAD]])
    options = {"end_id": END, "pad_id": PAD}
    expected = action_values(generator, reward, ids, START, 6, torch.Generator().manual_seed(1), **options)
    rng = torch.Generator().manual_seed(1)
    found = action_values(generator, reward, ids, START, 6, rng, memory_budget=budget, **options)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("budget", [1, 20_000, 10**9])
def test_threads_change_no_value(budget, back_end, threads, monkeypatch):
    generator = LSTMGenerator(5, (PAD, 4), embedding=3, hidden=4, lookback=(2,)).double()
    generator.reset_parameters(torch.Generator().manual_seed(0))
    ids = torch.tensor([[0, 1, 1, 0, 1, 1, 0], [1, 0, END, PAD, PAD, PAD, PAD]])
    names, advance = set(), LSTMGenerator.advance

    def noting(self, ids, state):
        names.add(threading.get_ident())
        assert torch.get_num_threads() == 1
        return advance(self, ids, state)

    def values():
        rng = torch.Generator().manual_seed(1)
        return action_values(generator, reward, ids, START, 6, rng, end_id=END, pad_id=PAD, memory_budget=budget)

    torch.set_num_threads(1)
    expected = values()
    torch.set_num_threads(threads)
    monkeypatch.setattr(LSTMGenerator, "advance", noting)
    torch.testing.assert_close(values(), expected, rtol=0, atol=1e-14)
    assert threading.get_ident() not in names
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("budget", "rollouts"), [*itertools.product([1, 300, 5_000, 10**9], [1, 3, 16])])
def test_blocks_cover_every_prefix_and_rollout_once(budget, rollouts):
    length = 9
    ids = torch.zeros(2, length, dtype=torch.int64)
    found = [
        (t, n)
        for section in sections(2, length, rollouts, 7 * budget)
        for lengths, numbers in blocks(Bigram(), ids, *section, budget)
        for t in lengths
        for n in numbers
    ]
    assert sorted(found) == sorted(itertools.product(range(1, length), range(rollouts)))


def test_blocks_keep_to_the_budget():
    lane = 4 * Bigram.floats_per_row + 8 * 9
    for lengths, numbers in blocks(Bigram(), torch.zeros(2, 9), range(1, 9), range(16), 40 * lane):
        assert len(lengths) * len(numbers) * 2 <= 40
    for lengths, numbers in sections(2, 9, 16, 40 * 8 * 9):
        assert len(lengths) * len(numbers) * 2 <= 40


@pytest.mark.parametrize("budget", [1, 10**9])
def test_a_group_is_the_batch_of_one_rollout_and_prefix(budget):
    ids = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0]])
    calls = []

    def noting(completed, group, start):
        calls.append((completed, group, start))
        return worth(completed)

    start = torch.tensor([4, 0])
    action_values(Bigram(), noting, ids, start, 3, torch.Generator(), end_id=END, pad_id=PAD, memory_budget=budget)
    for completed, group, of_row in calls:
        for number in group.unique():
            rows = completed[group == number]
            assert rows[:, 0].tolist() == [0, 1], "one row of each sequence, in their order"
            assert torch.equal(of_row[group == number], start)
    assert sum(len(group.unique()) for _, group, _ in calls[1:]) == 3 * 3


def test_a_reward_may_know_how_to_score_prefixes():
    ids, start = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0]]), torch.tensor([4, 0])
    asked, calls = [], []

    class OfPrefixes:
        def __call__(self, ids, group, start):
            raise AssertionError("not asked, for there is a quicker way")

        def for_search(self, ids, start):
            asked.append((ids, start))

            def worth_of_lanes(lanes, lengths, group, start):
                calls.append(lengths)
                assert len(group) == len(start) == lanes[..., 0].numel()
                for lane, length in zip(lanes, lengths, strict=True):
                    assert (lane[..., :length] == ids[:, :length]).all()
                return worth(lanes.flatten(0, 2)).view(lanes.shape[:3])

            return worth_of_lanes

    class OfSequences(OfPrefixes):
        def __call__(self, ids, group, start):
            return worth(ids)

    found = [
        action_values(Bigram(), scores, ids, start, 3, torch.Generator().manual_seed(0), end_id=END, pad_id=PAD)
        for scores in (OfPrefixes(), reward, OfSequences())
    ]
    assert len(asked) == 1, "a derived class that changes the reward alone is not asked"
    assert torch.equal(asked[0][0], ids)
    assert calls[0] == range(4, 5)
    assert [length for lengths in calls[1:] for length in lengths] == [1, 2, 3]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[2], found[1])


def test_networks_are_in_eval_mode_without_gradients_and_get_their_mode_back():
    class Watched(Bigram):
        def __init__(self):
            super().__init__()
            self.dropout = Dropout(0.9)

        def step(self, ids, state):
            assert not self.training
            assert not torch.is_grad_enabled()
            return super().step(ids, state)

    class WatchedReward:
        discriminator = Dropout(0.9)

        def __call__(self, ids, group, start):
            assert not self.discriminator.training
            return worth(ids)

    policy, watched = Watched().train(), WatchedReward()
    watched.discriminator.train()
    action_values(policy, watched, torch.tensor([[0, 1], [1, 0]]), START, 2, torch.Generator(), end_id=END, pad_id=PAD)
    assert policy.training
    assert watched.discriminator.training


def test_without_rollouts_every_step_has_the_reward_of_the_sequence():
    ids = torch.tensor([[0, 1, END], [1, END, PAD]])
    values = action_values(Bigram(), reward, ids, START, 0, torch.Generator(), end_id=END, pad_id=PAD)
    assert torch.equal(values, worth(ids)[:, None].expand(2, 3))


def test_one_token_needs_no_rollout():
    values = action_values(Bigram(), reward, torch.tensor([[1], [0]]), START, 4, torch.Generator())
    assert torch.equal(values[:, 0], worth(torch.tensor([[1], [0]])))
