"""Where DVC's remotes may lie: clear images neither beside released ones nor where git would commit them."""

from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import urlsplit

from blurline.errors import BlurlineError

LOCAL = ("file", "local")
Place = tuple[str, PurePosixPath]  # "" or scheme://host, and the path there


def check(root: Path, name: str, url: str) -> None:
    """Check the url that is asked for as remote `name` ("private" or "public").

    Raises
    ------
    BlurlineError
        When it is empty, a reference to another remote, lies inside the repository, or holds a password.
    """
    option = f"--{name}-remote"
    if not url.strip():
        raise BlurlineError(f"{option}: is empty: name a folder or a URL such as s3://bucket/{name}")
    if url.startswith(("-", "remote://")):
        raise BlurlineError(f"{option} {url}: name the storage itself: a folder, or a URL such as s3://bucket/{name}")
    if "://" in url and urlsplit(url).scheme.lower() in LOCAL:
        # DVC would take the whole of it for a relative path, and put clear images into the clone.
        raise BlurlineError(f"{option} {url}: DVC knows no such URLs: name the folder itself, such as /data/{name}")
    if "://" in url and urlsplit(url).password:
        raise BlurlineError(
            f"{option}: the URL holds a password, and git tracks .dvc/config: leave it out, and give it to this clone "
            f"alone with `dvc remote modify --local {name} password …`"
        )
    if _holds(("", PurePosixPath(root.resolve())), _place(root, url)):
        raise BlurlineError(
            f"{option} {url}: lies inside this repository, where `git add` and `git clean` reach it: name a place "
            "outside"
        )


def check_apart(root: Path, private: str, public: str) -> None:
    """Check that neither remote lies inside the other.

    Raises
    ------
    BlurlineError
        Else: whoever may read released images could then read clear ones.
    """
    one, other = _place(root, private), _place(root, public)
    if _holds(one, other) or _holds(other, one):
        raise BlurlineError(
            f"--private-remote {private}, --public-remote {public}: one lies inside the other, and clear images beside "
            "released ones: name two places apart"
        )


def is_inside(root: Path, url: str) -> bool:
    """Whether a remote is a folder of this clone, as the demo's are."""
    return _holds(("", PurePosixPath(root.resolve())), _place(root, url))


def _holds(outer: Place, inner: Place) -> bool:
    return outer[0] == inner[0] and inner[1].is_relative_to(outer[1])


def _place(root: Path, url: str) -> Place:
    parts = urlsplit(url) if "://" in url else None
    if parts is None:
        return "", PurePosixPath((root / Path(url).expanduser()).resolve())
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme.lower()}://{host}", PurePosixPath(normpath(f"/{parts.path.strip('/')}"))
