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
