"""A scene as bytes and back, so that what a checklist compares survives a restart."""

import numpy as np

from squeeze.patterns.scene import NODE, NOW, VENUE, WALL, ZONE, Scene

Packed = list[tuple[tuple[int, ...], bytes]]
"""Shape and bytes of each array, in the order of `Scene`."""

RECORDS = {"now": NOW, "zones": ZONE, "ended": ZONE, "walls": WALL, "nodes": NODE, "venues": VENUE}


def pack(scene: Scene | None) -> Packed | None:
    """A scene's arrays; None for none."""
    if scene is None:
        return None
    dtypes = [RECORDS.get(name, np.dtype(np.float64)) for name in Scene._fields]
    arrays = [np.ascontiguousarray(array, dtype) for array, dtype in zip(scene, dtypes, strict=True)]
    return [(array.shape, array.tobytes()) for array in arrays]


def unpack(packed: Packed | None) -> Scene | None:
    """The scene that was packed; `ValueError` where the bytes do not fit."""
    if packed is None:
        return None
    arrays = []
    for name, (shape, raw) in zip(Scene._fields, packed, strict=True):
        arrays.append(np.frombuffer(bytearray(raw), RECORDS.get(name, np.dtype(np.float64))).reshape(shape))
    return Scene(*arrays)
