"""URLs of members of archives: `tar://member::location`, chained as fsspec chains them.

`tar://a.jpg::tar://inner.tar::file:///x/outer.tar` is `a.jpg` in `inner.tar` in `/x/outer.tar`: the innermost name
comes first, the place of the outermost archive last. In a member's name `%`, `:` and control characters are
percent-encoded, so the first `::` always ends it; other characters stay, and most names read as they are. The location
is a URL or path like any other, with the rules that it has when it stands alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from blurline.archives.errors import BAD_URL, TOO_DEEP, Unreadable

SCHEMES = ("tar", "zip")
DEPTH = 3  # archives in one chain
_SEPARATOR = "::"


@dataclass(frozen=True)
class Link:
    """One archive of a chain: its format (tar, compressed or not, or zip) and the name of a member in it."""

    scheme: str
    name: str


def is_chain(url: str) -> bool:
    """Whether a URL means a member of an archive."""
    scheme, colon, _ = url.partition("://")
    return bool(colon) and scheme.lower() in SCHEMES


def write(links: Sequence[Link], location: str) -> str:
    """The URL of a member; `links` go from the outermost archive inwards."""
    return _SEPARATOR.join([*(f"{link.scheme}://{_escape(link.name)}" for link in reversed(links)), location])


def read(url: str) -> tuple[tuple[Link, ...], str]:
    """The links of a chain, from the outermost archive inwards, and the location of that archive.

    Raises
    ------
    Unreadable
        When a part is missing, or the chain is longer than DEPTH.
    """
    links: list[Link] = []
    rest = url
    while is_chain(rest):
        part, separator, rest = rest.partition(_SEPARATOR)
        scheme, _, name = part.partition("://")
        if not separator or not name:
            raise Unreadable(BAD_URL)
        links.append(Link(scheme.lower(), unquote(name, errors="surrogateescape")))
    if not links or not rest:
        raise Unreadable(BAD_URL)
    if len(links) > DEPTH:
        raise Unreadable(TOO_DEEP)
    return tuple(reversed(links)), rest


def _escape(name: str) -> str:
    if name.isprintable() and "%" not in name and ":" not in name:
        return name
    return "".join(_escaped(character) for character in name)


def _escaped(character: str) -> str:
    # A lone surrogate stands for a byte that is no UTF-8: such names come back from %xx as well.
    if character in "%:" or not character.isprintable():
        return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogateescape"))
    return character
