"""Files that nobody should trust, byte by byte: what no library would write."""

import io
import json
import struct
import zipfile
import zlib

import numpy as np


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_of(header, data=b"", version=1):
    """An array with this header, whatever it says."""
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def claiming(shape, descr="<f4", data=bytes(16)):
    return npy_of(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode(), data)


def npz(*members, comment=b"", packing=zipfile.ZIP_STORED):
    """An archive of these arrays' bytes, named a, b, …"""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for letter, data in zip("abcdefgh", members, strict=False):
            archive.writestr(f"{letter}.npy", data)
        archive.comment = comment
    return buffer.getvalue()


def archive_of(packed, unpacked_size, method=8, repeats=1):
    """An archive of one member that claims to unpack to so many bytes, so many times in its table of contents."""
    name = b"a.npy"
    fields = struct.pack("<HHHHHIIIHH", 45, 0, method, 0, 33, 0, len(packed), unpacked_size, len(name), 0)
    member = b"PK\3\4" + fields + name + packed
    entry = b"PK\1\2" + struct.pack("<H", 45) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = struct.pack("<HHHHIIH", 0, 0, repeats & 0xFFFF, repeats & 0xFFFF, repeats * len(entry), len(member), 0)
    return member + repeats * entry + b"PK\5\6" + end


def zeros_packed(megabytes):
    """The deflate stream of so many megabytes of zeros after an array's header, at a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    count = megabytes * 2**20 // 4
    head = packer.compress(claiming(f"({count},)", data=b"")) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + megabytes * block + packer.flush()


def safetensors(header, data=b"", length=None):
    """A file with this header, a value of JSON or the bytes themselves."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def mutations(whole, count, seed):
    """So many damaged copies of a file: flipped bits, cuts, pieces moved, doubled, zeroed."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        damaged = bytearray(whole)
        start, end = sorted(int(place) for place in generator.integers(0, len(whole), 2))
        kind = number % 5
        if kind == 0:
            for _ in range(int(generator.integers(1, 4))):
                damaged[int(generator.integers(len(whole)))] ^= 1 << int(generator.integers(8))
        elif kind == 1:
            del damaged[end:]
        elif kind == 2:
            del damaged[start:end]
        elif kind == 3:
            damaged[start:start] = damaged[start:end]
        else:
            width = min(int(generator.integers(1, 9)), len(whole) - start)
            damaged[start : start + width] = bytes([int(generator.choice([0, 255]))]) * width
        yield bytes(damaged)
