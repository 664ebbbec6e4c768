#!/usr/bin/env python3
"""Cuts the embedded sample out of Fashion-MNIST: the first 2,000 training and 500 test images.

usage: scripts/make_sample.py [folder of the four .gz files]
"""
import gzip
import pathlib
import struct
import sys

SOURCE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist")
SAMPLE = pathlib.Path(__file__).resolve().parent.parent / "src" / "data" / "sample"


def cut(name: str, count: int, header: int, per_item: int) -> None:
    """Writes the first `count` items of an IDX file with a header of `header` bytes."""
    data = gzip.decompress((SOURCE / name).read_bytes())
    magic, sizes = data[:4], data[8:header]
    items = data[header : header + count * per_item]
    assert len(items) == count * per_item, f"{name} is too short"
    # No time and no name in the gzip header: the same input always gives the same file.
    packed = gzip.compress(magic + struct.pack(">I", count) + sizes + items, 9, mtime=0)
    (SAMPLE / name).write_bytes(packed)
    print(f"{SAMPLE / name}: {len(packed)} bytes")


for part, count in [("train", 2000), ("t10k", 500)]:
    cut(f"{part}-images-idx3-ubyte.gz", count, 16, 28 * 28)
    cut(f"{part}-labels-idx1-ubyte.gz", count, 8, 1)
