"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """A mistake in the configuration, the data or the environment.

    The message is one sentence that names the file, the key or row, the value, and what would be
    right. The command line prints it alone, without a traceback, and exits with status 1.
    """
