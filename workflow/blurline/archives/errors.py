"""The reason why a member of an archive cannot be had."""


class Unreadable(Exception):
    """The bytes cannot be had. `reason` is short and stable, and holds no path or URL: it may be published.

    `within` names the inner archives, from the outermost inwards, in which the trouble lies.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.within: tuple[str, ...] = ()


DAMAGED = "archive damaged or truncated"
TRAILING = "archive has data after its end"
TOO_DEEP = "archives nested too deeply"
TOO_MANY_MEMBERS = "archive has too many members"
NOT_SEEKABLE = "zip inside a compressed archive"
COMPRESSION = "compression method not supported"
ENCRYPTED = "member is encrypted"
LINK = "member is a link"
SPECIAL = "member is no regular file"
NOT_REGULAR = "no regular file"
MISSING = "no such member"
AMBIGUOUS = "ambiguous: several members have this name"
TOO_MANY_BYTES = "over max_bytes"
BAD_URL = "not the url of a member of an archive"
