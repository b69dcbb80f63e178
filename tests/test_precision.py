"""``[run] precision``: what is refused, what is kept, what it leaves alone, and how far it may move a result."""

import pytest
import torch

from seqgan_music import config, precision, run_settings
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.modes import each_within
from seqgan_music.run import Run


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """PyTorch's switches for TF32, which exist without a GPU, put back after the test."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield lambda: (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("name", ["float16", "FLOAT32", ""])
def test_another_precision_is_refused_in_one_line(name):
    with pytest.raises(UsageError, match=r"^run\.precision must be one of float32, tf32, bfloat16, not "):
        run_settings.resolve({"run": {"precision": name}})


def test_a_config_from_before_there_was_a_precision_is_float32(own_run):
    file = own_run / "config.toml"
    lines = file.read_text("utf-8").splitlines(keepends=True)
    assert 'precision = "float32"\n' in lines
    file.write_text("".join(line for line in lines if "precision" not in line), "utf-8")
    assert Run(own_run).settings["run"]["precision"] == "float32"


@pytest.mark.parametrize("name", precision.PRECISIONS)
def test_training_networks_are_told_and_those_of_a_finished_run_are_not(name, tiny_experiment, tmp_path):
    made = tiny_experiment(tmp_path / "run", run={"precision": name})
    expected = torch.bfloat16 if name == "bfloat16" else None
    trained = [made.parts.generator, made.parts.discriminator, made.algorithm.policy.rollout_policy]
    assert [network.product_dtype for network in trained] == [expected] * 3
    assert {parameter.dtype for network in trained for parameter in network.parameters()} == {torch.float32}
    next(iter(made))
    resumed = Experiment.resume(tmp_path / "run")
    assert resumed.settings["run"]["precision"] == name
    assert resumed.parts.generator.product_dtype == expected
    assert config.read_config(tmp_path / "run" / "config.toml")["run"]["precision"] == name
    for _ in made:
        pass
    finished = Run(tmp_path / "run")
    assert finished.generator().product_dtype is None
    assert finished.discriminator().product_dtype is None
    assert len(finished.generate(2)) == 2


def test_tf32_is_float32_on_a_processor(tiny_experiment, tmp_path, as_on_a_gpu):
    before = as_on_a_gpu()
    runs = []
    for name in ("float32", "tf32"):
        made = tiny_experiment(tmp_path / name, run={"precision": name}, algorithm={"rounds": 1})
        for _ in made:
            assert as_on_a_gpu() == before
        runs.append(made.parts.generator.state_dict())
    assert all(torch.equal(runs[0][weight], runs[1][weight]) for weight in runs[0])


@pytest.mark.parametrize(
    ("name", "products", "convolutions"),
    [("float32", "highest", False), ("tf32", "high", True), ("bfloat16", "high", True)],
)
@pytest.mark.parametrize("before", [("highest", True), ("medium", False)])
def test_tf32_is_let_on_a_gpu_while_an_item_is_made_and_put_back(name, products, convolutions, before, as_on_a_gpu):
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]

    def items():
        for number in range(2):
            yield number, as_on_a_gpu()
        raise ArithmeticError

    each = each_within(lambda: precision.in_force(name, torch.device("cuda")), items())
    for number in range(2):
        assert next(each) == (number, (products, convolutions))
        assert as_on_a_gpu() == before, "the reader of the items computes as it did"
    with pytest.raises(ArithmeticError):
        next(each)
    assert as_on_a_gpu() == before


def test_a_run_keeps_its_precision_when_it_goes_on(tiny_experiment, tmp_path, tiny_corpus):
    from click.testing import CliRunner
    from seqgan_music_cli.main import main

    next(iter(tiny_experiment(tmp_path / "run", run={"precision": "bfloat16"})))
    told = CliRunner().invoke(main, ["train", "--resume", str(tmp_path / "run"), "--precision", "float32"])
    assert told.exit_code == 2
    assert "--resume takes its settings from the run; leave out --precision" in told.output


def test_the_option_reaches_the_settings():
    assert run_settings.shortcuts(precision="bfloat16") == {"run": {"precision": "bfloat16"}}
    with pytest.raises(UsageError, match=r"run\.precision must be a text"):
        run_settings.resolve({"run": {"precision": 16}})


def test_a_network_of_ones_own_need_not_know_of_it():
    network = torch.nn.Linear(2, 2)
    precision.apply("bfloat16", network)
    assert network(torch.ones(1, 2)).dtype == torch.float32
