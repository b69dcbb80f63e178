"""Several processes that train one run are to compute what one would.

Run as a program, this file is one of several processes, and writes what it computed to the file it is given.
"""

import functools
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomli_w
import torch
from click.testing import CliRunner
from seqgan_music_cli.main import main as command
from torch import Tensor
from torch.utils._pytree import tree_leaves

from seqgan_music import distributed, losses
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.policy import PolicyTraining
from seqgan_music.algorithms.pretraining import (
    DiscriminatorTraining,
    MaximumLikelihood,
    generate,
    negative_log_likelihood,
)
from seqgan_music.algorithms.record import Record
from seqgan_music.algorithms.scheduled_sampling import ScheduledSampling
from seqgan_music.checkpoint import load
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.errors import Failure, UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.modes import set_rng
from seqgan_music.rewards import Reward
from seqgan_music.run_directory import read_log

V, T = 12, 8
END, PAD, START = 9, 10, 11
COUNTS = (2, 3)
TORCHRUN = (str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2")


class Relativistic(losses.DiscriminatorLoss):
    """A loss that is no mean of what each sequence is worth, and a penalty that draws."""

    def loss(self, real, fake):
        return torch.nn.functional.softplus(fake.mean() - real).mean() + (fake - real.mean()).square().mean().sqrt()

    def reward(self, score):
        return score.sigmoid()

    def penalty(self, discriminator, real, fake, rng):
        noise = distributed.rand((len(real), 1), rng, real.device)
        return (discriminator(real) * noise[:, 0]).square().mean()


LOSSES = {
    "bce": losses.BinaryCrossEntropy,
    "lsgan": losses.LeastSquares,
    "wgan-gp": losses.WassersteinGradientPenalty,
    # Not so small that most weights are cut to the same number, with which maxima over time are ties.
    "wgan-clip": functools.partial(losses.WassersteinClipping, clip=0.5),
    "own": Relativistic,
}


def windows(n: int, rng: torch.Generator) -> Windows:
    """Random sequences, of which some end."""
    ids = torch.randint(END, (n, T), generator=rng)
    length = torch.randint(2, 2 * T, (n, 1), generator=rng)
    step = torch.arange(T)
    ids = torch.where(step == length, END, torch.where(step > length, PAD, ids))
    return Windows(ids, torch.full((n,), START), torch.arange(n))


def parts_of(loss: str = "bce") -> Parts:
    """Small networks with dropout, data of which no batch is divisible by 2 and 3."""
    rng = torch.Generator().manual_seed(5)
    data = Dataset(windows(50, rng), windows(23, rng), windows(5, rng), V, END, PAD, (PAD, START))
    generator = LSTMGenerator(V, (PAD, START), embedding=4, hidden=6, dropout=0.3)
    discriminator = CNNDiscriminator(V, T, embedding=4, filters=[[1, 4], [3, 5]], dropout=0.4)
    for network in (generator, discriminator):
        network.reset_parameters(rng)
    criterion = LOSSES[loss]()
    # Unique sequences are worth more: the B of a roll-out and prefix have to stay together.
    reward = Reward(discriminator, criterion, uniqueness=True)
    return Parts(generator, discriminator, criterion, reward, data, torch.Generator().manual_seed(7))


def policy_of(parts: Parts, **options: object) -> PolicyTraining:
    settings = {
        "batch_size": 5,
        "likelihood_batch_size": 7,
        "rollouts": 4,
        "rollout_rate": 0.8,
        "learning_rate": 1e-2,
        "baseline": "prefix",
        "normalize_advantage": True,
        "likelihood_steps": 1,
        "kl": 0.1,
        "entropy_bonus": 0.1,
        "clip": 1.0,
        "memory_budget": 20_000,
    }
    return PolicyTraining(parts, **(settings | options))


def weights(network: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def of(values: dict[str, float]) -> Tensor:
    return torch.tensor([values[name] for name in sorted(values)])


def computed() -> dict[str, Tensor]:
    """Everything that processes share out."""
    found: dict[str, Tensor] = {}
    parts = parts_of()
    for rows in (7, 1):
        found[f"draws of {rows}"] = generate(parts, torch.full((rows,), START))
    found["nll"] = torch.tensor(negative_log_likelihood(parts.generator, parts.dataset.validation, PAD))
    for rollouts in (4, 1, 0):
        policy = policy_of(parts, rollouts=rollouts, baseline="mean")
        ids, start = policy.generate()
        found[f"values of {rollouts}"] = policy.search(ids, start)
    for rows, rollouts in ((5, 4), (1, 1)):
        parts = parts_of()
        set_rng(parts.generator, parts.rng)
        policy = policy_of(parts, batch_size=rows, rollouts=rollouts)
        policy.begin()
        ids, start = policy.generate()
        for _ in range(2):  # in the second, the policy is no longer the one it is held to
            measured = policy.update(ids, start, policy.search(ids, start))
        found[f"policy of {rows}"] = weights(parts.generator)
        found[f"policy's record of {rows}"] = of(measured)
        policy.search(ids, start)
        found[f"reward's means of {rows}"] = of(parts.reward._parts.take())
    for training in (MaximumLikelihood, ScheduledSampling):
        parts = parts_of()
        options = {"omega_start": 0.5} if training is ScheduledSampling else {}
        records = list(training(parts, epochs=2, batch_size=16, **options))
        found[f"{training.__name__}'s weights"] = weights(parts.generator)
        found[f"{training.__name__}'s record"] = of(records[-1].values)
    for loss in LOSSES:
        parts = parts_of(loss)
        training = DiscriminatorTraining(parts, sets=1, epochs=2, samples=0, batch_size=16, learning_rate=1e-2)
        (record,) = training
        found[f"{loss}: D"] = weights(parts.discriminator)
        found[f"{loss}: record"] = of({**record.values, **parts.loss.state_dict()})
    found["random numbers"] = parts.rng.get_state()
    return found


def check_that_a_difference_is_noticed() -> None:
    """Each process draws as many random numbers as its share has rows, as code that knows of no others might."""
    parts = parts_of()
    record = Record("discriminator", 1, 2, {})
    assert Experiment._checked_alike(SimpleNamespace(parts=parts), record) is record
    torch.rand(len(range(5)[distributed.share(5)]), generator=parts.rng)
    with pytest.raises(Failure, match=r"no longer agree on rng after discriminator 1"):
        Experiment._checked_alike(SimpleNamespace(parts=parts), record)


def main(file: str) -> None:
    """Compute, see that all processes hold the same, and write it."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    with distributed.processes(), distributed.sharing():
        found = computed()
        if distributed.size() > 1:
            check_that_a_difference_is_noticed()
        for name, value in found.items():  # to the last bit
            assert len(set(distributed.gathered_values(value.numpy().tobytes()))) == 1, name
    if distributed.leads():
        torch.save(found, file)


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What 1, 2 and 3 processes compute, the latter at the same time."""
    folder = tmp_path_factory.mktemp("processes")
    started = []
    for count in COUNTS:
        port = free_port()
        for rank in range(count):
            command = [sys.executable, "-W", "error", __file__, str(folder / f"{count}.pt")]
            started.append(
                subprocess.Popen(
                    command, env=environment(rank, count, port), stderr=subprocess.PIPE, text=True, cwd=folder
                )
            )
    torch.set_default_dtype(torch.float64)
    found = {1: computed()}
    torch.set_default_dtype(torch.float32)
    said = [process.communicate(timeout=120)[1] for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(said)
    return found | {count: torch.load(folder / f"{count}.pt") for count in COUNTS}


@pytest.mark.parametrize("count", COUNTS)
def test_several_processes_compute_what_one_does(results, count):
    assert results[1].keys() == results[count].keys()
    for name, alone in results[1].items():
        shared = results[count][name]
        if alone.dtype == torch.float64:
            assert (shared - alone).abs().max() < 1e-10, name
        else:
            assert torch.equal(shared, alone), name


def test_what_is_compared_depends_on_what_is_shared_out(results):
    alone = results[1]
    for name, value in alone.items():
        if value.dtype == torch.float64:
            assert value.isfinite().all(), name
    assert len(alone["values of 4"].unique()) > 20
    assert not torch.equal(alone["bce: D"], alone["lsgan: D"])
    assert not torch.equal(alone["MaximumLikelihood's weights"], alone["ScheduledSampling's weights"])


def assert_equal_to_rounding(log: list[dict], other: list[dict]) -> None:
    assert [line.pop("phase") for line in log] == [line.pop("phase") for line in other]
    for line, expected in zip(log, other, strict=True):
        assert line.pop("seconds") > 0
        del expected["seconds"]
        assert line == pytest.approx(expected, rel=1e-3, abs=1e-5)


def trained(experiment: Experiment, records: int) -> None:
    for number, _ in enumerate(experiment, 1):
        if number == records:
            break


def test_torchrun_goes_on_with_a_run_of_one_process(tiny_experiment, tmp_path):
    for _ in tiny_experiment(tmp_path / "alone"):
        pass
    trained(tiny_experiment(tmp_path / "run"), 3)
    done = subprocess.run(
        [*TORCHRUN, "-m", "seqgan_music", "train", "--resume", str(tmp_path / "run"), "--no-evaluate"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_equal_to_rounding(read_log(tmp_path / "run"), read_log(tmp_path / "alone"))
    said = [line.split()[:2] for line in done.stderr.splitlines()]
    for record in (["discriminator", "2/2"], ["adversarial", "1/2"], ["adversarial", "2/2"]):
        assert said.count(record) == 1
    assert done.stdout.count("run: ") == 1
    assert load(tmp_path / "run/checkpoints/last")["records"] == 6


def test_where_one_process_is_killed_the_others_end_with_one_line_and_one_process_goes_on(tiny_experiment, tmp_path):
    rounds = {"algorithm": {"rounds": 10_000}}
    trained(tiny_experiment(tmp_path / "run", **rounds), 3)
    port = free_port()
    resume = [sys.executable, "-m", "seqgan_music", "train", "--resume", str(tmp_path / "run"), "--no-evaluate"]
    leader, other = (
        subprocess.Popen(resume, env=environment(rank, 2, port), stderr=subprocess.PIPE, text=True) for rank in (0, 1)
    )
    give_up = time.monotonic() + 60
    while len(read_log(tmp_path / "run")) < 6 and leader.poll() is None and time.monotonic() < give_up:
        time.sleep(0.1)
    other.kill()
    assert other.communicate(timeout=60)[1] == ""
    last = leader.communicate(timeout=60)[1].splitlines()[-1]
    assert leader.returncode == 1
    assert last.startswith("seqgan-music: another process of this training has ended")
    assert last.endswith(f"go on with: seqgan-music train --resume {tmp_path / 'run'}")
    records = len(read_log(tmp_path / "run"))
    assert records >= 6
    trained(Experiment.resume(tmp_path / "run"), 1)
    trained(tiny_experiment(tmp_path / "alone", **rounds), records + 1)
    assert_equal_to_rounding(read_log(tmp_path / "run"), read_log(tmp_path / "alone"))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["generate", "run"], "start generate without torchrun"),
        (["train", "midi_data/", "--minutes", "3"], "--minutes clocks a training of one process"),
        (["train", "midi_data/", "--no-such-option"], "No such option"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_by_one_of_them(monkeypatch, rank, arguments, told):
    for name, value in environment(rank, 2, 1).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    if rank:
        assert not done.output
    else:
        assert told in done.output
        assert done.output.count("\n") == 1


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "not LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        (environment(2, 2, 1), "must lie below WORLD_SIZE 2"),
        ({**environment(0, 2, 1), "RANK": "first"}, "whole numbers"),
        ({**environment(0, 2, 1), "MASTER_PORT": "first"}, "whole numbers"),
        (environment(0, 2, 99999), "not be 99999"),
    ],
)
def test_half_an_environment_is_refused(monkeypatch, variables, told):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
        if name in variables:
            monkeypatch.setenv(name, variables[name])
    with pytest.raises(UsageError, match=told):
        distributed.launched()
    done = CliRunner().invoke(command, ["train", "midi_data/"])
    assert done.exit_code == 2
    assert told in done.output


@pytest.mark.parametrize("variables", [{"RANK": "3"}, {"WORLD_SIZE": "4"}, {"RANK": "0", "WORLD_SIZE": "1"}])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["generate", "nothing"], "is not a run"), (["train"], "name a folder"), (["train", "--minutes", "3"], "folder")],
)
def test_what_a_scheduler_sets_for_itself_is_no_torchrun(monkeypatch, tmp_path, variables, arguments, told):
    monkeypatch.chdir(tmp_path)
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.launched() == 1
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert told in done.output


def test_a_folder_that_is_not_there_ends_all_processes_with_one_line(tmp_path):
    done = subprocess.run(
        [*TORCHRUN, "-m", "seqgan_music", "train", str(tmp_path / "nowhere")],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1
    assert done.stderr.count("seqgan-music: ") == 1, done.stderr
    assert "Aborted" not in done.stderr


def test_where_one_run_of_a_group_fails_all_processes_end(tmp_path, tiny_settings, few_tunes):
    tiny_settings["algorithm"]["generator_learning_rate"] = 1e38
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(tiny_settings), "utf-8")
    group = ["--seeds", "2", "-c", "tiny.toml", "-o", "group", "--no-evaluate"]
    port = free_port()
    leader, other = (
        subprocess.Popen(
            [sys.executable, "-m", "seqgan_music", "train", str(few_tunes), *group],
            env=environment(rank, 2, port),
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for rank in (0, 1)
    )
    try:
        said = leader.communicate(timeout=60)[1].splitlines()
        assert other.communicate(timeout=60) == (None, "")
    finally:
        leader.kill()
        other.kill()
    assert (leader.returncode, other.returncode) == (1, 0)
    assert said[-1].startswith("seqgan-music: seed 1 failed: g_loss is ")
    assert said[-1].endswith("goes on with the other seeds: seqgan-music train --resume group")


def test_one_process_of_torchrun_is_alone(monkeypatch):
    for name, value in environment(0, 1, 1).items():
        monkeypatch.setenv(name, value)
    with distributed.processes(), distributed.sharing():
        assert not distributed.joined()
        assert distributed.share(5) == slice(0, 5)
        assert distributed.leads()


def test_shares_are_all_rows_once(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 3)
    for count in (0, 1, 2, 3, 7):
        rows = []
        for rank in range(3):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            rows += range(count)[distributed.share(count)]
            with distributed.batch(max(count, 1)) as computed:
                assert computed.stop > computed.start
        assert rows == list(range(count))


def test_random_numbers_that_are_not_of_the_batch_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    rng = torch.Generator()
    with distributed.batch(4), pytest.raises(RuntimeError, match="not that of the batch"):
        distributed.rand((3, 2), rng, torch.device("cpu"))


def test_what_other_processes_are_sent_is_in_main_memory(tiny_experiment, tmp_path, monkeypatch):
    made = tiny_experiment(tmp_path / "run")
    next(iter(made))
    sent = torch.zeros(3)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: sent)
    job = made._job()
    found = [leaf for leaf in tree_leaves((job["parts"], job["algorithm"])) if isinstance(leaf, torch.Tensor)]
    assert len(found) > 50
    assert all(tensor is sent for tensor in found)


def test_devices_on_which_several_processes_cannot_compute_are_refused(monkeypatch):
    distributed.check_device(torch.device("mps"))  # one can
    monkeypatch.setattr(distributed, "joined", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="not on mps"):
        distributed.check_device(torch.device("mps"))
    with pytest.raises(UsageError, match="has 1 GPU"):
        distributed.check_device(torch.device("cuda"))


if __name__ == "__main__":
    main(sys.argv[1])
