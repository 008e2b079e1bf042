"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """A wrong path, field, file, flag, label or checkpoint.

    The message is one line that says what is wrong and what to do. The programs in launch/
    print it without a traceback and end with exit status 2.
    """
