"""
Where every stream's numbering stood when the daemon last ended in order.

Without this file a restart would begin every series anew, and no subscriber could tell across it
what was missed. The file is removed when it is read: after a crash there is none, and every stream
gets a new epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from book.series import Position

_NAME: Final = "positions.json"
_FORMAT: Final = 1


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    positions: dict[str, Position]


_decode = msgspec.json.Decoder(_Saved).decode


def save(state_directory: str, positions: Mapping[str, Position]) -> None:
    """
    Write the positions whole or not at all.

    Raises:
        OSError: the state directory cannot be written.

    """
    folder = Path(state_directory)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{_NAME}.part"
    draft.write_bytes(msgspec.json.encode(_Saved(_FORMAT, dict(positions))))
    draft.replace(folder / _NAME)


def take(state_directory: str) -> dict[str, Position]:
    """
    Read the positions and remove them; empty when there are none or they cannot be used.

    Raises:
        OSError: the file is there and cannot be read or removed.

    """
    path = Path(state_directory) / _NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    path.unlink()
    try:
        saved = _decode(text)
    except msgspec.MsgspecError:
        return {}
    return saved.positions if saved.format == _FORMAT else {}
