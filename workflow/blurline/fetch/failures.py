"""Why the bytes behind a URL could not be had: a few short, stable phrases."""

DNS = "dns"
CONNECT = "connect"
TLS = "tls"
LOST = "connection lost"
TIMEOUT = "timeout"
TRUNCATED = "truncated"
TOO_LARGE = "over max_bytes"
NOT_AN_IMAGE = "not an image"
OPT_OUT = "opt-out"
BLOCKED = "blocked address"
TOO_MANY_REDIRECTS = "too many redirects"
BAD_REDIRECT = "bad redirect"
INSECURE_REDIRECT = "insecure redirect"
RETRY_AFTER = "retry-after too long"
BAD_URL = "bad url"
BAD_ANSWER = "bad answer"
BAD_ENCODING = "content encoding not supported"
NOT_FOUND = "file not found"
NOT_REGULAR = "no regular file"
OTHER_HOST = "file url names another host"
DENIED = "access denied"
CHANGED = "changed during transfer"

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""HTTP statuses that another attempt may mend: the server is busy, restarting or out of reach behind its front."""


class FetchFailed(Exception):
    """The bytes could not be had.

    Attributes
    ----------
    reason
        Short and stable, and holds no URL: it may be published.
    transient
        Whether another attempt may end better.
    http_status, final_url, attempts
        What was seen until then: the last HTTP status, where redirects led (see `urls.shown`), how often it was tried.
    """

    def __init__(
        self,
        reason: str,
        *,
        transient: bool = False,
        http_status: int | None = None,
        final_url: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.transient = transient
        self.http_status = http_status
        self.final_url = final_url
        self.attempts = attempts
