"""Smoke tests of a config: a few steps of it, on a few of its own rows, in several ways.

`launch.smoke` is the program; docs/use/smoke.md says what it checks.
"""


class Disagreement(Exception):
    """Numbers that should be equal are not, or something did not end as it should: in one line."""
