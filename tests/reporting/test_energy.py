"""Joules of clips and epochs: by a made-up NVML, since tests need no GPU."""

import csv
import json
import sys
from types import SimpleNamespace

import torch
from runs import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import make_trainer

from c2d_fast.analyze import parse
from c2d_fast.commands.run_analyze import run_analyze
from c2d_fast.reporting.energy import energy_counter, joules_between
from c2d_fast.training import energy_meter
from c2d_fast.training.distributed import Group
from c2d_fast.training.energy_meter import EnergyMeter

CPU = torch.device("cpu")


class FakeNvml:
    """A management library whose counter goes up by so many millijoules at each reading; None: it raises."""

    def __init__(self, *each):
        self.each, self.total, self.asked = list(each), 0, []

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        self.asked.append(uuid)
        return "the GPU"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        assert handle == "the GPU"
        step = self.each.pop(0) if len(self.each) > 1 else self.each[0]
        if step is None:
            raise RuntimeError("Not Supported")
        self.total = max(self.total + step, 0)
        return self.total


def counter_of(nvml, monkeypatch):
    """What energy_counter finds on a machine with that library."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", nvml)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-ab"))
        return energy_counter()


def meter(monkeypatch, *each, group=None):
    counter = counter_of(FakeNvml(0, *each), monkeypatch)  # its first reading says that there is one
    monkeypatch.setattr(energy_meter, "energy_counter", lambda: counter)
    return EnergyMeter(group or Group(), CPU)


class Pair(Group):
    """Two ranks that do the same."""

    def sum(self, tensor):
        return tensor.mul_(2)


def test_the_counter_is_that_of_this_rank_in_joules(monkeypatch):
    nvml = FakeNvml(1500)
    counter = counter_of(nvml, monkeypatch)
    assert nvml.asked == ["GPU-12-ab"]
    assert [counter(), counter()] == [3.0, 4.5]
    nvml.each = [None]
    assert counter() is None


def test_gpus_that_do_not_count_have_no_counter(monkeypatch):
    assert counter_of(FakeNvml(None), monkeypatch) is None
    assert counter_of(None, monkeypatch) is None  # no such package
    assert energy_counter() is None or torch.cuda.is_available()


def test_what_a_counter_that_began_anew_has_counted_is_not_known():
    assert joules_between(2.0, 5.5) == 3.5
    assert joules_between(5.5, 2.0) is None
    assert joules_between(None, 2.0) is None
    assert joules_between(2.0, None) is None


def test_joules_of_clips_and_of_an_epoch(monkeypatch):
    of_run = meter(monkeypatch, 7000, 100_000, 8000, 4000, 50_000, 6000)
    of_run.begin_epoch(0)  # 100 J before the epoch are not its own
    assert of_run.read(4, last=False) == {"joules_per_clip": 2.0}
    assert of_run.read(8, last=True) == {"joules_per_clip": 1.0, "epoch_joules": 12.0}
    of_run.begin_epoch(16)  # an epoch that is gone on with: what it took before is not known
    assert of_run.read(20, last=True) == {"joules_per_clip": 1.5}


def test_a_counter_that_begins_anew_leaves_out_what_is_not_known(monkeypatch):
    of_run = meter(monkeypatch, 0, 500_000, 8000, -505_000, 4000, 2000, 6000)
    of_run.begin_epoch(0)
    assert of_run.read(4, last=False) == {"joules_per_clip": 2.0}
    assert of_run.read(8, last=False) == {}
    assert of_run.read(12, last=True) == {"joules_per_clip": 1.0}
    of_run.begin_epoch(0)
    assert of_run.read(4, last=True) == {"joules_per_clip": 1.5, "epoch_joules": 6.0}


def test_ranks_are_added_up(monkeypatch):
    of_run = meter(monkeypatch, 0, 0, 8000, group=Pair())
    of_run.begin_epoch(0)
    assert of_run.read(8, last=True) == {"joules_per_clip": 2.0, "epoch_joules": 16.0}


def test_without_counters_nothing_is_read(monkeypatch):
    class Unlike(Group):
        def all_gather_object(self, value):
            return [value, False]

    assert meter(monkeypatch, 1000, group=Unlike()).read(4, last=True) == {}
    monkeypatch.setattr(energy_meter, "energy_counter", lambda: None)
    assert EnergyMeter(Group(), CPU).read(4, last=True) == {}


def test_a_run_records_its_energy_and_analyze_shows_it(tmp_path, monkeypatch, capsys):
    counter = counter_of(FakeNvml(6000), monkeypatch)
    monkeypatch.setattr("c2d_fast.training.energy_meter.energy_counter", lambda: counter)
    trainer = make_trainer(tmp_path / "run")
    trainer.run(2)
    trainer.records.close()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    # Three steps of four clips an epoch, recorded at its end: one reading of 6 J.
    assert [(line["joules_per_clip"], line["epoch_joules"]) for line in lines] == [(0.5, 6.0)] * 2
    board = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("train/epoch_joules")] == [(3, 6.0), (6, 6.0)]
    run_analyze(parse([str(tmp_path / "run"), "--out", str(tmp_path / "analysis")]))
    with (tmp_path / "analysis" / "runs.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (float(row["J/clip"]), float(row["kJ/epoch"])) == (0.5, 0.006)
    assert "J/clip" in capsys.readouterr().out


def test_the_benchmark_s_watch_gives_the_joules_of_a_clip(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from machine import GpuWatch

    with GpuWatch() as watch:
        pass
    assert watch.energy(4) == {} or torch.cuda.is_available()
    counter = counter_of(FakeNvml(6000), monkeypatch)
    monkeypatch.setattr("c2d_fast.reporting.energy.energy_counter", lambda: counter)
    with GpuWatch() as watch:
        pass
    assert watch.energy(12) == {"joules_per_clip": 0.5}
    monkeypatch.setattr("c2d_fast.reporting.energy.energy_counter", lambda: iter([5.0, 2.0]).__next__)
    with GpuWatch() as watch:
        pass
    assert watch.energy(12) == {}, "it has begun anew"
