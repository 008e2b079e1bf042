"""Settings that follow from the rows."""

import copy
import dataclasses

import pytest
import tiny

from configs import files, files_pretrained
from trainer import config, one_file, sizing
from trainer.config import FROM_ROWS
from trainer.data.columns import Row
from trainer.data.survey import survey
from trainer.errors import UserError
from trainer.tasks.classification import Classification
from trainer.tasks.masked import MaskedWords

LEFT = [
    *("config.global_batch_size", "config.data.max_length", "config.tokenizer.vocab_size"),
    *("config.optimizer.ema", "config.evaluation.every_epochs", "config.phases[0].epochs"),
]


def from_file(*task, make=files.get_config):
    """The config with a file named."""
    made = make(*task)
    made.data.train = "t.csv"
    return made


def sized(rows, lengths=(10, 20, 30), make=files.get_config, most=None, **changes):
    given = dataclasses.replace(from_file(make=make), **changes)
    before = copy.deepcopy(given)
    made = sizing.by_lengths(sizing.by_rows(given, rows), lengths, most)
    assert given == before
    assert not sizing.unsized(made)
    config.validate(made)
    return made


def test_everything_of_the_config_that_counts_rows_is_left_to_them():
    assert sizing.unsized(files.get_config()) == LEFT
    assert not sizing.unsized(tiny.experiment())
    config.validate(from_file())


@pytest.mark.parametrize("rows", [1, 80, 400, 1_600, 16_000, 160_000, 8_000_000])
def test_a_larger_set_has_larger_batches_and_fewer_epochs(rows):
    small, large = sized(rows), sized(10 * rows)
    assert small.global_batch_size <= large.global_batch_size
    assert small.tokenizer.vocab_size <= large.tokenizer.vocab_size
    assert small.phases[0].epochs >= large.phases[0].epochs >= 2
    assert small.optimizer.ema <= large.optimizer.ema
    every = small.evaluation.every_epochs
    assert 5 <= small.phases[0].epochs / every <= 12


def test_the_choices_of_some_sizes():
    few = sized(80)
    assert (few.global_batch_size, few.phases[0].epochs, few.optimizer.ema) == (16, 40, 0)
    many = sized(160_000)
    assert (many.global_batch_size, many.phases[0].epochs, many.optimizer.ema) == (64, 2, 0.998)
    said = sizing.chosen(files.get_config(), few, 80)
    assert said.startswith("Chosen for 80 rows of train: config.global_batch_size=16, config.data.")
    assert all(f"{path}=" in said for path in LEFT)


def test_a_setting_without_effect_is_not_among_those_that_were_chosen():
    given = from_file()
    given.model.initial_run, given.data.validation_share = "runs/words", 0.0
    made = sizing.by_lengths(sizing.by_rows(given, 80), [10], None)
    assert made.tokenizer == config.Tokenizer()
    said = sizing.chosen(given, made, 80)
    assert "vocab_size" not in said
    assert "every_epochs" not in said
    assert said.startswith("Chosen for 80 rows of train: config.global_batch_size=16, ")
    assert not config.without_effect(given) + config.without_effect(made)


@pytest.mark.parametrize("task", ["masked", "causal", "tagging"])
def test_windows_are_estimated(task):
    given = from_file(task)
    made = sizing.by_lengths(sizing.by_rows(given, 31), [10], None)
    said = sizing.chosen(given, made, 31)
    assert said.startswith("Chosen for about 31 windows of train: ")


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([5] * 100, None, 32),
        ([33] * 100, None, 48),
        ([*[100] * 99, 5_000], None, 112),  # one of a hundred rows may be cut
        ([5_000] * 100, None, 384),
        ([5_000] * 100, 128, 128),
    ],
)
def test_the_longest_input_is_that_of_almost_all_rows(lengths, most, expected):
    assert sized(100, lengths, most=most).data.max_length == expected


def test_what_is_given_stays():
    given = config.Evaluation(every_steps=5, every_epochs=FROM_ROWS)
    assert sized(100, evaluation=given).evaluation.every_steps == 5
    phases = [config.Phase(steps=100, learning_rate=1e-3)]
    assert sized(160, phases=phases).evaluation.every_epochs == 1.0  # of ten epochs
    given = dataclasses.replace(from_file().data, max_length=64)
    made = sized(100, global_batch_size=7, data=given)
    assert (made.global_batch_size, made.data.max_length) == (7, 64)
    made = sized(100, make=files_pretrained.get_config)
    assert [phase.epochs for phase in made.phases] == [10, 6]


def test_a_run_goes_on_with_what_it_chose():
    begun = sized(100)
    begun.task = dataclasses.replace(begun.task, text="said", label="what")
    given = from_file()
    assert sizing.as_begun(given, begun) == begun
    assert given == from_file()
    said = sizing.kept(given, begun)
    assert said.startswith("Goes on with what the run began with: config.global_batch_size=16, ")
    assert said.endswith(", config.task.text='said', config.task.label='what'")
    assert not sizing.kept(begun, begun)
    own = dataclasses.replace(given, global_batch_size=7)
    assert sizing.as_begun(own, begun).global_batch_size == 7
    longer = dataclasses.replace(given, phases=[*given.phases, config.Phase(name="b", epochs=-1)])
    assert sizing.unsized(sizing.as_begun(longer, begun)) == ["config.phases[1].epochs"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test": "t.csv", "test_share": 0.1}, r"a test set of its own or a share of train"),
        ({"test_share": 0.5, "validation_share": 0.5}, r"leave too little of train"),
        ({"max_length": -2}, r"config\.data\.max_length=-2 must be between 8 and 65536"),
    ],
)
def test_settings_of_data_that_cannot_be(changes, said):
    given = from_file()
    given.data = dataclasses.replace(given.data, **changes)
    with pytest.raises(UserError, match=said):
        config.validate(given)


def test_long_texts_that_are_cut_into_windows_count_for_many_rows():
    rows = [Row({"text": "a" * length}, i, "t") for i, length in enumerate((10, 0, 2500))]
    assert survey(rows, MaskedWords()).rows == 1 + 1 + 3
    assert survey(rows, Classification()).rows == 3


def test_a_task_that_no_config_file_has():
    with pytest.raises(UserError, match=r"'other' is none of classification, labels, regression,"):
        files.get_config("other")
    for name in one_file.TASKS:
        for make in (files.get_config, files_pretrained.get_config):
            config.validate(from_file(name, make=make))
    assert FROM_ROWS == -1
