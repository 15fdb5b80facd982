"""What becomes of an image: the file to release, and what is known about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from blurline.images.obfuscate import Region


class Outside(StrEnum):
    """What was found equal, outside of the regions, between the released file and its source."""

    COEFFICIENTS = "coefficients"  # of a JPEG, quantised: bit for bit, outside the blocks that hold changed pixels
    PIXELS = "pixels"  # every sample outside the cores and soft edges
    BOUNDED = "bounded"  # nothing: the format was coded anew with loss, by at most what `outside_db` says


@dataclass(frozen=True)
class Proof:
    """What the released bytes show of a region once decoded.

    ``full``: share of its core, 0 to 1, that shows the blur at full strength (1 but for ``imagenet2021``, and the odd
    pixel that coding with loss moved far). ``residual``: share of the face's structure that is left (see `residual`).
    """

    full: float
    residual: float


@dataclass(frozen=True)
class Redacted:
    """The file to release, what was blurred in it, in pixels of the displayed image, and the proof of each region.

    ``outside_db`` is the peak signal-to-noise ratio in dB outside of the regions where these were not found equal.
    """

    data: bytes
    regions: Sequence[Region]
    proofs: Sequence[Proof] = ()
    outside: Outside = Outside.PIXELS
    outside_db: float | None = None
