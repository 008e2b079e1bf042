"""200 inputs of `make fuzz`, the same ones each time; tests/fuzz/driver.py sends all."""

import collections

import pytest
from fuzz import oracle
from fuzz.driver import DOORS, Fuzz, failure

SEED = 0
SECONDS = 120  # tests may run beside others: `make fuzz` says what hangs

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]


@pytest.mark.timeout(1800)  # 205 inputs, each with a limit of its own
def test_no_input_does_harm():
    names = [(door, number) for door, each in DOORS.items() for number in range(each.few)]
    assert len(names) >= 200
    with Fuzz(SEED, seconds=SECONDS) as fuzz:
        verdicts = list(fuzz.run(names))
    failures = [failure(SEED, *each) for each in verdicts if each[2].kind in oracle.KINDS]
    assert not failures, "\n".join(failures)
    kinds = collections.Counter(verdict.kind for _, _, verdict in verdicts)
    assert kinds["refused"] > 100, kinds  # otherwise the inputs are not odd enough
    assert kinds["worked"] > 10, kinds  # or so odd that nothing is reached
