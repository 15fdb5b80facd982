"""The perceptual hash of large images and odd colour modes: the same picture, and no copy of the whole raster."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from blurline import duplicates
from blurline.images import decode
from blurline.images.likeness import perceptual_hash

LIMITS = decode.Limits(10**8, 10**8)
SIDE = 4000

# Linux: the peak is set back between the two steps, so that decoding cannot hide what hashing takes.
MEASURE = """
import sys
from pathlib import Path
from blurline.images import decode
from blurline.images.likeness import perceptual_hash

def kib(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

tiny = decode.load(Path(sys.argv[2]).read_bytes(), decode.Limits(10**9, 10**9))
perceptual_hash(tiny)
decoded = decode.load(Path(sys.argv[1]).read_bytes(), decode.Limits(10**9, 10**9))
Path("/proc/self/clear_refs").write_text("5")
before = kib("VmRSS")
assert perceptual_hash(decoded)
print(max(0, kib("VmHWM") - before) * 1024)
"""


def encoded(image: Image.Image, kind: str) -> bytes:
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The same picture in another mode; what transparency hides stays what it was."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "P":
        return image.quantize(256)
    if mode in ("RGBA", "LA"):
        plain = image.convert(mode)
        plain.putalpha(Image.linear_gradient("L").resize(image.size))
        return plain
    return image.convert(mode)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are measured on Linux")
@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("I;16", "PNG")])
def test_hashing_takes_little_memory_beside_the_decoded_image(tmp_path: Path, mode: str, kind: str) -> None:
    picture = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
    for name, side in (("large", SIDE), ("tiny", 64)):
        (tmp_path / name).write_bytes(encoded(in_mode(picture.resize((side, side)), mode), kind))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "large"), str(tmp_path / "tiny")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < SIDE * SIDE  # less than one byte a pixel


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "I;16", "I", "F", "YCbCr"])
def test_a_large_image_has_the_hash_of_its_picture_in_every_mode(mode: str) -> None:
    with Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png") as opened:
        picture = opened.convert("RGB").resize((2500, 1700))
    decoded = decode.load(encoded(picture, "PNG"), LIMITS)
    one, other = perceptual_hash(decoded), perceptual_hash(replace(decoded, image=in_mode(picture, mode)))
    assert one is not None
    assert other is not None
    assert (int(one, 16) ^ int(other, 16)).bit_count() <= duplicates.NEAR


@pytest.mark.parametrize("size", [(40000, 3), (3, 40000), (1, 1), (511, 1025)])
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_odd_shapes_have_a_hash(size: tuple[int, int], mode: str) -> None:
    decoded = decode.load(encoded(Image.linear_gradient("L").resize(size).convert(mode), "PNG"), LIMITS)
    assert perceptual_hash(decoded) is not None


def test_tiles_are_put_where_they_belong() -> None:
    """Reduced piece by piece or at once: the same picture."""
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (3001, 2777, 3), np.uint8))
    decoded = decode.load(encoded(picture, "PNG"), LIMITS)
    clear = picture.copy()
    clear.putalpha(0)
    assert perceptual_hash(replace(decoded, image=clear)) == perceptual_hash(decoded)
