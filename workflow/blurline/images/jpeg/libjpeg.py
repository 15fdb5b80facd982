"""The DCT coefficients of a JPEG, read and written through the very libjpeg that Pillow decodes with.

Pillow's wheels bring libjpeg-turbo along and export its whole interface, so nothing has to be installed for this, and
what is read here is what Pillow shows. jpegtran works through the same calls (``jpeg_read_coefficients``,
``jpeg_write_coefficients``; libjpeg.txt, "Really raw data: DCT coefficients").

libjpeg reports an error by a call that must not return. Python cannot unwind C, so the process ends there, with
status `GAVE_UP`. It takes bytes that Pillow decodes without complaint and libjpeg refuses all the same, which damaged
files do. So what is public here runs in a child process.
"""

import ctypes
import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import _imaging

from blurline.errors import BlurlineError
from blurline.images.errors import CannotRelease
from blurline.images.isolated import apart

GAVE_UP = 76
"""Exit status of a process in which libjpeg met an error."""

DAMAGED = "damaged JPEG data"
KEPT = "the JPEG's coefficients could not be kept"
BLOCK = 64  # coefficients

_ROOM = 4096  # bytes for any of libjpeg's structs
_FORMAT, _MESSAGE = 24, 40  # of jpeg_error_mgr: format_message, msg_code
_MESSAGE_LENGTH = 200  # bytes of a message (JMSG_LENGTH_MAX)
_EXTRA = b"extraneous bytes"  # in the warning about bytes that no decoder reads as part of the picture
_MEMORY = 8  # of both structs: where the memory manager is
_ACCESS, _LIMIT = 64, 88  # of jpeg_memory_mgr: access_virt_barray, max_memory_to_use


@dataclass(frozen=True)
class _Layout:
    """Sizes and offsets in bytes, on 64-bit machines, that differ from one version of the interface to the next."""

    version: int
    decompress: int
    compress: int
    optimize_coding: int


# As the compiler lays out jpeglib.h of libjpeg-turbo. 62 is what Pillow's wheels have, 80 what conda builds with.
_LAYOUTS = (_Layout(62, 632, 520, 264), _Layout(80, 656, 584, 296))

_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Emit = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
_Format = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
_Access = ctypes.CFUNCTYPE(
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.c_int,
)


@dataclass(frozen=True)
class Geometry:
    """A component: blocks across and down, as stored."""

    across: int
    down: int


Blocks = tuple[np.ndarray, np.ndarray]
"""Which blocks to replace, bool (down, across), and in their order the new ones: int16 (N, 64) in natural order."""


@apart
def replace(data: bytes, components: Sequence[Geometry], changes: Sequence[Blocks], progressive: bool) -> bytes:
    """The same JPEG with some blocks replaced; every other coefficient is bit for bit what it was.

    Entropy coding and markers are written anew (JFIF and Adobe ones as libjpeg sees fit, no others). The result is
    read again, and must hold exactly the coefficients meant.

    Parameters
    ----------
    data
        A JPEG that decodes completely.
    components
        Its components in the order of the frame header.
    changes
        For each of them, what to replace.
    progressive
        Whether to write a progressive file.

    Raises
    ------
    CannotRelease
        When libjpeg warned about the data (but for bytes that it skipped, which the result has no more), or the result
        is not what was meant.
    """
    with _reading(data) as source:
        for index, (where, new) in enumerate(changes):
            source.component(index, components[index])[where] = new
        result = source.written(progressive)
        with _reading(result) as again:
            _compare(source, again, components)
    return result


@apart
def unchanged(data: bytes, result: bytes, components: Sequence[Geometry]) -> bool:
    """Whether a JPEG made of another's segments holds its coefficients, and there is nothing else to hold.

    Returns
    -------
    bool
        False if ``data`` has bytes between its segments that no decoder reads: they may be anything. So it is with a
        file whose header says fewer rows than its scans have.

    Raises
    ------
    CannotRelease
        When the coefficients differ, or libjpeg warned of anything else.
    """
    warnings = _native().warnings
    with _reading(data) as source:
        if warnings:
            return False
        with _reading(result) as again:
            _compare(source, again, components)
    return True


def _compare(source: "_Source", again: "_Source", components: Sequence[Geometry]) -> None:
    same = (
        np.array_equal(source.component(index, component), again.component(index, component))
        for index, component in enumerate(components)
    )
    if _native().warnings or not all(same):
        raise CannotRelease(KEPT)


@apart
def coefficients(data: bytes, components: Sequence[Geometry]) -> list[np.ndarray]:
    """Every component's quantised coefficients, int16 (down, across, 64) in natural order.

    Raises
    ------
    CannotRelease
        When libjpeg warned about the data.
    """
    with _reading(data) as source:
        return [source.component(index, component).copy() for index, component in enumerate(components)]


class _Source:
    """An open decompressor with all its coefficients read."""

    def __init__(self, native: "_Native", struct: Any, arrays: int) -> None:
        self._native, self._struct, self._arrays = native, struct, arrays
        self._access = _Access(_pointer_at(_pointer_at(ctypes.addressof(struct) + _MEMORY) + _ACCESS))

    def component(self, index: int, geometry: Geometry) -> np.ndarray:
        """A component's blocks, int16 (down, across, 64): libjpeg's own memory, while this is open."""
        array = _pointer_at(self._arrays + index * ctypes.sizeof(ctypes.c_void_p))
        first = ctypes.cast(self._access(ctypes.addressof(self._struct), array, 0, 1, True), ctypes.c_void_p).value
        # All rows are in memory, as no limit was set (jmemnobs.c), and this is the list of where they begin.
        rows = np.ctypeslib.as_array((ctypes.c_uint64 * geometry.down).from_address(int(first or 0)))
        steps = np.diff(rows.astype(np.int64))
        step = int(steps[0]) if steps.size else geometry.across * BLOCK * 2
        if (steps != step).any():  # allocated in several pieces: more than a gigabyte
            raise CannotRelease("JPEG too large")
        size = (geometry.down - 1) * step + geometry.across * BLOCK * 2
        memory = np.ctypeslib.as_array((ctypes.c_int16 * (size // 2)).from_address(int(rows[0])))
        return np.lib.stride_tricks.as_strided(memory, (geometry.down, geometry.across, BLOCK), (step, BLOCK * 2, 2))

    def written(self, progressive: bool) -> bytes:
        """A file with the coefficients as they are now."""
        library = self._native.library
        struct, size, buffer = ctypes.create_string_buffer(_ROOM), ctypes.c_ulong(0), ctypes.c_void_p()
        ctypes.memmove(struct, ctypes.byref(ctypes.c_void_p(ctypes.addressof(self._native.errors))), 8)
        layout = self._native.layout
        library.jpeg_CreateCompress(struct, layout.version, ctypes.c_size_t(layout.compress))
        try:
            library.jpeg_mem_dest(struct, ctypes.byref(buffer), ctypes.byref(size))
            library.jpeg_copy_critical_parameters(self._struct, struct)
            ctypes.c_int.from_buffer(struct, layout.optimize_coding).value = 1
            if progressive:
                library.jpeg_simple_progression(struct)
            library.jpeg_write_coefficients(struct, ctypes.c_void_p(self._arrays))
            library.jpeg_finish_compress(struct)
            return ctypes.string_at(buffer, size.value)
        finally:
            library.jpeg_destroy_compress(struct)
            self._native.free(buffer)


@contextmanager
def _reading(data: bytes) -> Iterator[_Source]:
    native = _native()
    errors = native.errors
    native.warnings.clear()
    struct = ctypes.create_string_buffer(_ROOM)
    ctypes.memmove(struct, ctypes.byref(ctypes.c_void_p(ctypes.addressof(errors))), 8)
    library, layout = native.library, native.layout
    library.jpeg_CreateDecompress(struct, layout.version, ctypes.c_size_t(layout.decompress))
    try:
        ctypes.c_long.from_address(_pointer_at(ctypes.addressof(struct) + _MEMORY) + _LIMIT).value = 0
        library.jpeg_mem_src(struct, data, ctypes.c_ulong(len(data)))
        library.jpeg_read_header(struct, 1)
        arrays = library.jpeg_read_coefficients(struct)
        if not arrays or not all(_EXTRA in warning for warning in native.warnings):
            raise CannotRelease(DAMAGED)
        yield _Source(native, struct, arrays)
    finally:
        library.jpeg_destroy_decompress(struct)


@dataclass(frozen=True)
class _Native:
    """The library, the version of its interface, and the error manager that all calls share."""

    library: ctypes.CDLL
    layout: _Layout
    errors: Any
    warnings: list[bytes]
    kept: tuple[Any, ...]  # callbacks, which must live as long as the library may call them

    def free(self, buffer: ctypes.c_void_p) -> None:
        free = ctypes.CDLL(None).free
        free.argtypes, free.restype = [ctypes.c_void_p], None
        free(buffer)


class NoLibjpeg(BlurlineError):
    """Pillow was built in a way that keeps its libjpeg out of reach."""


@functools.cache
def _native() -> _Native:
    """The libjpeg of this process.

    Raises
    ------
    NoLibjpeg
        When Pillow has none that can be called, or one whose interface is not known here.
    """
    library = ctypes.CDLL(_imaging.__file__)
    try:
        library.jpeg_std_error.restype = ctypes.c_void_p
        library.jpeg_read_coefficients.restype = ctypes.c_void_p
        library.jpeg_mem_src.restype = None
    except AttributeError:
        raise NoLibjpeg(_ADVICE) from None
    errors = ctypes.create_string_buffer(_ROOM)
    library.jpeg_std_error(errors)
    silent, found = _Callback(lambda _: None), []
    warnings: list[bytes] = []

    def warn(struct: int, level: int) -> None:
        if level < 0:
            text = ctypes.create_string_buffer(_MESSAGE_LENGTH)
            _Format(_pointer_at(ctypes.addressof(errors) + _FORMAT))(struct, text)
            warnings.append(text.value)

    emit = _Emit(warn)
    refused = _Callback(lambda _: found.append(ctypes.c_int.from_buffer(errors, _MESSAGE).value))
    for at, callback in ((0, refused), (8, emit), (16, silent)):
        ctypes.memmove(ctypes.addressof(errors) + at, ctypes.byref(callback), 8)
    for layout in _LAYOUTS:
        # A wrong version or size is all that this call complains about, and returning to it does no harm.
        found.clear()
        struct = ctypes.create_string_buffer(_ROOM)
        ctypes.memmove(struct, ctypes.byref(ctypes.c_void_p(ctypes.addressof(errors))), 8)
        library.jpeg_CreateDecompress(struct, layout.version, ctypes.c_size_t(layout.decompress))
        if not found:
            library.jpeg_destroy_decompress(struct)
            fatal = _Callback(lambda _: os._exit(GAVE_UP))
            ctypes.memmove(errors, ctypes.byref(fatal), 8)
            return _Native(library, layout, errors, warnings, (silent, emit, fatal))
    raise NoLibjpeg(_ADVICE)


_ADVICE = (
    "Pillow's libjpeg cannot be called: install Pillow as a wheel from PyPI (pip install --only-binary :all: pillow)"
)


def _pointer_at(address: int) -> int:
    return int(ctypes.c_void_p.from_address(address).value or 0)
