"""Images: bytes to pixels in one place, faces made unrecognisable, and bytes that carry nothing else."""

from blurline.images.errors import CannotRelease

__all__ = ["CannotRelease"]
