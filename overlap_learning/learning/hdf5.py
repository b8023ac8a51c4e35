"""HDF5: what the files that this package writes are made of. Anything else is refused before a value of it is read."""

import math
import struct
from typing import Any

#: Attributes by which xarray would turn the numbers of a file into others.
_CHANGING = {"scale_factor", "add_offset", "missing_value", "_Unsigned", "_Encoding", "_ChunkSizes", "calendar"}
#: Attributes of NetCDF that tie a variable to its dimensions.
_TIES = {"DIMENSION_LIST", "REFERENCE_LIST"}
#: How the NAME of a dimension begins that is no variable: nothing is stored for it.
_DIMENSION = b"This is a netCDF dimension but not a netCDF variable"
#: The most bytes of one number: complex of double precision.
_WIDEST = 16
#: The bytes of the place and the length of a text.
_TEXT = 16

#: How a heap, in which HDF5 keeps texts, begins; after it comes its size. Each text has a number, counts and a length
#: before it; number 0 is what is free, with this head.
_HEAP, _HEAD, _PLACE = b"GCOL\1\0\0\0", 16, struct.Struct("<H6xQ")


def check_heaps(content: Any) -> None:
    """Refuse heaps in which one text does not lead to the next: HDF5 would go round in a circle, without end.

    Args:
        content: the bytes of the file, or an `mmap` of them.

    Raises:
        ValueError: that says what is wrong, without the name of the file.
    """
    begin = content.find(_HEAP)
    while begin >= 0:
        place = begin + _HEAD
        end = begin + int.from_bytes(content[begin + len(_HEAP) : place], "little")
        if not place <= end <= len(content):
            raise ValueError("its texts end behind the end of the file")
        while place + _HEAD <= end:
            number, length = _PLACE.unpack_from(content, place)
            place += length if number == 0 else _HEAD + (length + 7) // 8 * 8
            if (number == 0 and length < _HEAD) or place > end:
                raise ValueError("one of its texts does not lead to the next")
        begin = content.find(_HEAP, end)


def check_parts(file: Any, length: int) -> None:
    """Refuse an open file of h5py with parts that `files.write` does not write.

    Allowed are variables of numbers and texts that lie in the file itself, in one piece and as they are: no links, no
    groups, no data elsewhere (external or virtual), no filters, no references and objects, no sizes beyond the file's.

    Args:
        file: an `h5py.File`.
        length: its bytes.

    Raises:
        ValueError: that says what is wrong, without the name of the file.
    """
    import h5py

    _check_attributes(file, "the file", length)
    names: dict[int, str] = {}
    for name in file:
        what = f"{name!r}"
        link = file.get(name, getlink=True)
        if type(link) is not h5py.HardLink:
            raise ValueError(f"{what} is a link ({type(link).__name__}) to somewhere else")
        place = file.id.links.get_info(name.encode()).u
        if names.setdefault(place, name) != name:
            raise ValueError(f"{names[place]!r} and {what} are two names of one variable")
        kind = file.get(name, getclass=True)
        if kind is h5py.Datatype:
            # That of complex numbers.
            _check_type(file[name].id, what)
            continue
        if kind is not h5py.Dataset:
            raise ValueError(f"{what} is a {kind.__name__.lower()}, no variable")
        _check_variable(file[name], what, length)


def _check_variable(variable: Any, what: str, length: int) -> None:
    import h5py

    made = variable.id.get_create_plist()
    if made.get_external_count():
        raise ValueError(f"{what} is stored in another file")
    # What is empty is in chunks, none of which there is: NetCDF takes a dimension of length 0 for one that may grow.
    if made.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) and variable.size != 0:
        where = "elsewhere (virtual)" if made.get_layout() == h5py.h5d.VIRTUAL else "in chunks"
        raise ValueError(f"{what} is stored {where}")
    if made.get_nfilters():
        raise ValueError(f"{what} is stored by a filter")
    _check_attributes(variable, what, length)
    is_text = _check_type(variable.id.get_type(), what)
    if variable.shape is None:
        raise ValueError(f"{what} holds nothing")
    width = _TEXT if is_text else variable.id.get_type().get_size()
    stored, size = variable.id.get_storage_size(), math.prod(variable.shape) * width
    is_dimension = bytes(variable.attrs.get("NAME", b"")).startswith(_DIMENSION) and variable.ndim == 1
    begin = variable.id.get_offset() or 0
    if not (is_dimension and stored == 0 and size <= 4 * length) and (stored != size or begin + stored > length):
        raise ValueError(f"{what} of shape {list(variable.shape)} takes {size:,} bytes, of which {stored:,} are there")
    if is_text and len(variable.shape) > 2:
        raise ValueError(f"{what} holds texts in {len(variable.shape)} dimensions")


def _check_type(kind: Any, what: str) -> bool:
    """Refuse what is neither numbers nor texts; whether it is texts."""
    import h5py

    h5t = h5py.h5t
    if isinstance(kind, h5t.TypeStringID):
        if not kind.is_variable_str():
            raise ValueError(f"{what} holds texts of a fixed length")
        return True
    is_number = isinstance(kind, (h5t.TypeIntegerID, h5t.TypeFloatID)) or kind.dtype.kind == "c"
    if not is_number or kind.get_size() > _WIDEST or kind.dtype.kind not in "iufc":
        raise ValueError(f"{what} holds neither numbers nor texts, but {kind.dtype}")
    return False


def _check_attributes(of: Any, what: str, length: int) -> None:
    import h5py

    for name in of.attrs:
        attribute = of.attrs.get_id(name)
        if name in _CHANGING:
            raise ValueError(f"{what} has the attribute {name!r}, by which its numbers would be others")
        if attribute.get_storage_size() > length:
            raise ValueError(f"the attribute {name!r} of {what} is larger than the file")
        kind = attribute.get_type()
        if name not in _TIES and not isinstance(
            kind, (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeStringID)
        ):
            raise ValueError(f"the attribute {name!r} of {what} holds neither numbers nor texts")
        value = None if name in _TIES else of.attrs[name]
        if (name == "_FillValue" and not _is_nan(value)) or (name == "dtype" and value != "bool"):
            raise ValueError(f"{what} has the attribute {name!r} = {value!r}, by which its numbers would be others")


def _is_nan(value: Any) -> bool:
    import numpy as np

    array = np.asarray(value)
    return array.dtype.kind == "f" and bool(np.all(np.isnan(array)))
