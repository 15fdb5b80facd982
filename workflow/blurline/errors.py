"""The one exception that people see: a single line that says what, where and what to do."""


class BlurlineError(Exception):
    """Something the user can mend. The message is one line: what was wrong, where, what to do."""
