"""data/environment.json names whatever can change a byte of an output."""

from blurline import environment


def test_the_libraries_of_the_perceptual_hash_are_named() -> None:
    """Its bits are in data/raw."""
    assert {"ImageHash", "numpy", "pillow", "scipy"} <= environment.describe()["packages"].keys()
