"""The records of an interrupted run that a resumed run keeps.

A resumed run starts again at the step of its checkpoint, so it writes again what the killed run had
written after it. Every writer here drops those records when it opens, so that each point is there
once.
"""

# What the names of records of an evaluation begin with; all others are records of training.
_EVALUATION = ("validation/", "test/", "test_", "final/", "evaluation/", "attention/")


def is_evaluation(name: str) -> bool:
    """True if the record or tag `name` ("validation/loss") comes from an evaluation."""
    return name.startswith(_EVALUATION)


def belongs(step_of_record: int, is_evaluation: bool, resume_step: int) -> bool:
    """True if a record stays in the history of a run that resumes at `resume_step`.

    A checkpoint is the state right after its step, which was logged before; an evaluation of that
    step comes after it, and is done again.

    Args:
      step_of_record: the step that the record was written for.
      is_evaluation: whether it comes from an evaluation.
      resume_step: the step of the checkpoint; 0 for a new run.
    """
    return step_of_record < resume_step or (step_of_record == resume_step and not is_evaluation)
