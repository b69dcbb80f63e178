"""The benchmark for GPUs, in its tiny form on a processor, and the counts it divides by."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

PARTS = {"sampling", "search", "generator step", "update of D", "likelihood epoch"}


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("gpu")


def test_a_short_run_writes_seconds_operations_and_the_schedule(gpu, tmp_path, capsys):
    file = tmp_path / "gpu.json"
    options = [
        "--configuration",
        "tiny",
        "--device",
        "cpu",
        "--precision",
        "float32",
        "bfloat16",
        "--peak",
        "0.1",
        "0.2",
    ]
    assert gpu.main([*options, "--repeats", "2", "--json", str(file)]) == 0
    result = json.loads(file.read_text("utf-8"))
    assert result["peak_tflops"] == {"float32": 0.1, "bfloat16": 0.2}
    found = result["configurations"]["tiny"]["results"]
    assert [one["setting"]["precision"] for one in found] == ["float32", "bfloat16"]
    for one, peak in zip(found, (0.1, 0.2), strict=True):
        assert set(one["parts"]) == PARTS
        for part in one["parts"].values():
            assert len(part["seconds"]) == 2
            assert min(part["seconds"]) > 0
            assert part["share_of_peak"] == pytest.approx(part["tflops"] / peak)
        whole = one["published schedule, computed"]
        assert whole["all"] == pytest.approx(sum(whole.values()) - whole["all"])
        assert not one["setting"]["graphs"], "a processor has none"
    said = capsys.readouterr().out
    assert said.count("published schedule") == 2
    assert "computed from the parts" in said


def test_the_published_schedule_is_the_sum_of_its_parts(gpu):
    parts = {name: {"seconds": [1.0]} for name in PARTS}
    sizes = gpu.CONFIGURATIONS["P"]
    found = gpu.schedule(sizes, parts, batch=64)
    assert found["generator steps"] == 200
    assert found["likelihood"] == pytest.approx(120 * 10_000 / sizes.sequences)
    assert found["updates of D"] == (50 + 200 * 5) * 3 * 157


@pytest.mark.parametrize("configuration", ["tiny", "M"])
def test_operations_are_those_that_pytorch_counts(gpu, configuration, monkeypatch):
    """Of the dense way, which is that of a GPU, forward; PyTorch's counter knows no LSTM, so steps are taken."""
    monkeypatch.setenv("SEQGAN_MUSIC_JIT", "0")
    sizes = gpu.CONFIGURATIONS[configuration]
    track = gpu.Track(sizes, gpu.Setting(torch.device("cpu"), "float32", False))
    counted = gpu.operations(sizes, track.algorithm)
    discriminator, generator = track.parts.discriminator, track.parts.generator
    ids = track.fake[: 2 * track.batch]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        discriminator.score(discriminator.embed(ids))
    assert 3 * counter.get_total_flops() == counted["update of D"]
    state = generator.start(sizes.sequences)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for token in track.fake.unbind(1):
            _, state = generator.step(token, state)
    assert counter.get_total_flops() == counted["sampling"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--repeats", "0"], "--repeats"),
        (["--peak", "1", "2", "--precision", "float32"], "--peak takes one number"),
        (["--peak", "-1"], "--peak takes one number"),
        (["--device", "abacus"], "unknown device 'abacus'"),
    ],
)
def test_what_cannot_be_meant_is_refused(gpu, options, says, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--configuration", "tiny", "--device", "cpu", *options])
    assert says in capsys.readouterr().err
