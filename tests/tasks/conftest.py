"""Files of data for tasks, as the tests of the data have them."""

from tests.data.conftest import make_files

__all__ = ["make_files"]
