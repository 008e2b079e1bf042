"""A real Slurm for these tests, where it is installed."""

from collections.abc import Iterator

import pytest
from daemons import Slurm, missing


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Two nodes, n9 and n10, of 4 CPUs each."""
    if reason := missing():
        pytest.skip(reason)
    made = Slurm(tmp_path_factory.mktemp("slurm"))
    yield made
    made.close()
