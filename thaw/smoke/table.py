"""Checks as they end: a line for each, plain enough for the log of a CI job."""

import time
from collections.abc import Callable

from thaw.smoke import Disagreement
from trainer.errors import Interrupted, UserError, in_one_line, one_line

OK, FAILED = "ok", "FAILED"
_WIDTH = 9  # of the names


class Table:
    """The checks that were made.

    Args:
      say: takes a line.

    Attributes:
      count: how many there are.
      failed: the names of those in which something did not agree.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self.count, self.failed = 0, list[str]()

    def make(self, name: str, check: Callable[[], str], needed: bool = False) -> None:
        """Makes a check, and tells how it ended.

        Args:
          name: of the check.
          check: returns a line on what agreed; raises Disagreement, or whatever a user's code does.
          needed: True if a UserError says that nothing can begin.

        Raises:
          UserError: where it is needed.
        """
        began = time.perf_counter()
        try:
            status, said = OK, check()
        except Interrupted:
            raise
        except (Disagreement, UserError) as error:
            if needed and isinstance(error, UserError):
                raise
            status, said = FAILED, one_line(str(error))
        except Exception as error:  # of a user's own code
            status, said = FAILED, in_one_line(error)
        self.tell(name, status, time.perf_counter() - began, said)

    def tell(self, name: str, status: str, seconds: float, said: str) -> None:
        """Prints how a check ended."""
        self.count += 1
        if status != OK:
            self.failed.append(name)
        self._say(f"{name:<{_WIDTH}}  {status:<{len(FAILED)}}  {seconds:5.1f} s  {said}")
