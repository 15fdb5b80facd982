"""What HTTP headers say, as far as a download must know."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

AGENT = "blurline"
OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex"})

# `text/plain` is not here: some servers send it for every file whose type they do not know.
_NO_IMAGE = re.compile(
    r"^(text/(?!plain\b)|audio/|video/|multipart/|message/|font/|application/(json|javascript|pdf|xml|xhtml\+xml|rss\+xml)\b)",
    re.IGNORECASE,
)
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)$")


def opts_out(robots_tags: Iterable[str]) -> bool:
    """Whether X-Robots-Tag headers ask not to use the file: for everybody, or for the agent "blurline".

    A directive with another agent's name concerns that agent only; one without a name concerns everybody, also where
    it follows a named one: in doubt, the owner does not want it.
    """
    for value in robots_tags:
        for directive in value.lower().split(","):
            agent, _, name = directive.rpartition(":")
            if name.strip() in OPT_OUTS and agent.strip() in ("", "*", AGENT):
                return True
    return False


def is_no_image(content_type: str) -> bool:
    """Whether a Content-Type rules out an image; a wrong image type, or none, does not: the bytes themselves decide."""
    return bool(_NO_IMAGE.match(content_type.strip()))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait, from a Retry-After in seconds or as an HTTP date; None if there is none that makes sense."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def strong_etag(value: str | None) -> str | None:
    """An ETag that promises equal bytes; None for a weak one, which does not."""
    return value if value and value.startswith('"') else None


def content_range(value: str | None) -> tuple[int, int | None] | None:
    """(first byte, size of the whole or None) of a Content-Range."""
    match = _CONTENT_RANGE.match(value or "")
    return (int(match[1]), None if match[3] == "*" else int(match[3])) if match else None
