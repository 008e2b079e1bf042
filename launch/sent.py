"""The flags of launch.train that another program sends to it, checked before anything starts."""

import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from absl import flags

from launch import arguments as given
from thaw.config_files import found
from trainer import config as config_lib
from trainer.errors import UserError, shown


def is_here(arguments: Sequence[str]) -> bool:
    """True if the config file, and the file of flags if there is one, are on this machine."""
    config = found(given.value_of("config", arguments)).split(":")[0]
    needed = [config, given.value_of("flagfile", arguments)]
    return all(Path(path).is_file() for path in needed if path)


def check(arguments: Sequence[str]) -> None:
    """Checks names and values of a config's fields, where its file is here.

    Args:
      arguments: the flags of launch.train; those that are no fields of the config pass.

    Raises:
      UserError: what is wrong, as launch.train would say it.
    """
    if is_here(arguments):
        arguments = given.with_flag_files(["launch.train", *arguments])[1:]
        check_values(experiment(arguments, only_known=True))


def check_values(config: config_lib.Experiment) -> str:
    """Checks the fields of a config, each and against the others; returns its metric.

    Raises:
      UserError: what is wrong.
    """
    config_lib.validate(config)
    return config_lib.metric(config)


def experiment(arguments: Sequence[str], only_known: bool = False) -> config_lib.Experiment:
    """The experiment that launch.train makes of its flags.

    Args:
      arguments: the flags.
      only_known: whether flags that are not the config's are left to launch.train.

    Raises:
      UserError: a flag, a field or a type is wrong.
    """
    from ml_collections import config_flags

    given.check_config(arguments)  # whose hints are better
    values = flags.FlagValues()
    argv = ["launch.train", *arguments]
    try:
        with mock.patch.object(sys, "argv", argv):  # where ml_collections looks for fields
            config_flags.DEFINE_config_file("config", None, flag_values=values)
            flags.DEFINE_string("workdir", None, "", flag_values=values)
            flags.DEFINE_string("cache_dir", None, "", flag_values=values)
            flags.DEFINE_integer("cpu_devices", None, "", 1, given.CPU_DEVICES, flag_values=values)
            left = values(argv, known_only=only_known)[1:]
        made = values["config"].value
    except Exception as error:  # whatever ml_collections raises for a value
        raise given.as_said(error) from error
    if left and not any(each.startswith("-") for each in left):
        raise UserError(f"unknown argument {shown(left[0])}: flags begin with --")
    if not isinstance(made, config_lib.Experiment):
        raise UserError("--config: get_config() must return a trainer.config.Experiment")
    return made
