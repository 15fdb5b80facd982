"""The refusal that every module here shares."""


class CannotRelease(Exception):
    """The image must be withheld; ``reason`` is a short, stable phrase without paths, URLs or pixel values."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
