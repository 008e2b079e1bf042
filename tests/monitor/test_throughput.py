"""Rates over the time of training alone."""

import contextlib

import pytest

from trainer.monitor.throughput import Throughput


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rates_leave_out_what_is_not_training():
    clock = Clock()
    throughput = Throughput(clock)
    clock.now = 4
    throughput.add(tokens=600, padded_tokens=800, examples=8, steps=2)
    with throughput.part("evaluation"):
        clock.now = 80
        with throughput.part("logging"):
            clock.now = 100
    with throughput.part("compute"):
        clock.now = 104
    throughput.waited(1)
    throughput.add(tokens=600, padded_tokens=700, examples=8, steps=2)
    rates = throughput.read()
    assert {key: value for key, value in rates.items() if key.startswith("train/")} == {
        "train/tokens_per_second": 150.0,
        "train/examples_per_second": 2.0,
        "train/step_seconds": 2.0,
        "train/padding": pytest.approx(0.2),
    }
    seconds = {"input": 1, "compute": 3, "host": 4, "logging": 20, "evaluation": 76}
    for name, spent in {**seconds, "checkpoint": 0}.items():
        assert rates[f"time/{name}_ms"] == spent / 4 * 1e3
        assert throughput.totals[name] == spent


def test_steps_that_read_no_tokens_have_no_rate_of_them():
    clock = Clock()
    throughput = Throughput(clock)
    clock.now = 2
    throughput.add(tokens=0, padded_tokens=0, examples=8, steps=2)
    rates = throughput.read()
    assert rates["train/examples_per_second"] == 4.0
    assert not {"train/tokens_per_second", "train/padding"} & set(rates)


def test_a_step_that_compiles_is_in_no_rate_but_where_there_is_no_other():
    clock = Clock()
    throughput = Throughput(clock)
    with throughput.part("compile"):
        clock.now = 50
    throughput.add(10, 20, 1, 1, compiled=True)
    rates = throughput.read()  # it has the same names as any other: a run may resume anywhere
    assert rates["train/step_seconds"] == 50
    assert throughput.pace is None
    with throughput.part("compile"):
        clock.now = 100
    throughput.add(10, 30, 1, 1, compiled=True)
    with throughput.part("compute"):
        clock.now = 106
    throughput.add(30, 50, 3, 3)
    others = throughput.read()
    assert others.keys() == rates.keys()
    assert others["train/step_seconds"] == throughput.pace == 2
    assert others["train/tokens_per_second"] == 5
    assert others["train/padding"] == 0.5  # of all of them
    assert throughput.totals["compile"] == 100
    assert throughput.read() == {}
    assert throughput.pace == 2


def test_parts_around_the_steps_are_shared_by_those_that_compiled_too():
    clock = Clock()
    throughput = Throughput(clock)
    for part, seconds in {"compile": 40, "host": 10, "compute": 4, "evaluation": 5}.items():
        with throughput.part(part):
            clock.now += seconds
    with throughput.part("logging"):
        clock.now += 1
    throughput.add(80, 80, 8, 8, compiled=True)
    throughput.add(20, 20, 2, 2)
    rates = throughput.read()
    found = {name[5:-3]: value for name, value in rates.items() if name.startswith("time/")}
    assert found == {
        **{"compile": 4000, "host": 1000, "compute": 2000, "input": 0},
        **{"evaluation": 500, "logging": 100, "checkpoint": 0},
    }
    assert rates["train/step_seconds"] == throughput.pace == 3
    assert rates["train/examples_per_second"] == pytest.approx(1 / 3)


def test_each_reading_starts_afresh():
    clock = Clock()
    throughput = Throughput(clock)
    clock.now = 1
    throughput.add(10, 10, 1, 1)
    throughput.read()
    assert throughput.read() == {}
    clock.now = 3
    throughput.add(10, 10, 1, 1)
    assert throughput.read()["train/tokens_per_second"] == 5.0
    assert throughput.totals["host"] == 3


def test_a_part_ends_when_its_body_raises():
    clock = Clock()
    throughput = Throughput(clock)
    with contextlib.suppress(KeyError), throughput.part("checkpoint"):
        clock.now = 5
        raise KeyError
    clock.now = 6
    throughput.add(10, 10, 1, 1)
    assert throughput.read()["train/step_seconds"] == 1.0


def test_padded_tokens_include_the_real_ones():
    with pytest.raises(ValueError, match="do not fit"):
        Throughput().add(tokens=10, padded_tokens=5, examples=1, steps=1)


def test_the_padding_counts_the_steps_before_a_resume_but_no_rate_does():
    clock = Clock()
    throughput = Throughput(clock)
    throughput.add_earlier(10, 30)
    assert throughput.read() == {}
    throughput.add_earlier(10, 30)
    throughput.add(10, 10, 1, 1)
    clock.now = 2
    rates = throughput.read()
    assert rates["train/padding"] == 0.5
    assert rates["train/tokens_per_second"] == 5.0
    throughput.add(10, 10, 1, 1)
    clock.now = 3
    assert throughput.read()["train/padding"] == 0.0
