"""The two ways a run can end badly, and the one way a piece can be turned away.

The command line turns them into exit codes: `UsageError` is 2, `Failure` is 1.
"""


class SeqganMusicError(Exception):
    """Anything this package says to its user in one readable message, without a traceback."""

    exit_code = 1


class UsageError(SeqganMusicError, ValueError):
    """What was asked for cannot be meant: an option, a name or an input is wrong."""

    exit_code = 2


class Failure(SeqganMusicError, RuntimeError):
    """What was asked for was sound, but could not be finished."""


class SeqganMusicWarning(UserWarning):
    """What a user should know although nothing has failed; the command line shows it as one line."""


class PieceRefused(SeqganMusicError):
    """A piece or file that cannot be used; it never stops the others.

    Parameters
    ----------
    reason : str
        A short reason that many pieces can share, such as ``"no notes"``: refusals are counted by it.
    detail : str
        What was found in this one, such as ``"31 % of the onsets are off the grid"``.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["PieceRefused"], tuple[str, str]]:
        """Survive the trip from a reader process with both parts."""
        return type(self), (self.reason, self.detail)
