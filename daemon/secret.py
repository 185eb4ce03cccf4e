"""Secrets from files: read once, refused when others could read them too."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from book.errors import ConfigError
from daemon.shape import at

_SECRET_BYTES_MAX: Final = 64 * 1024


def read_secret(path: Path, place: str, *, managed: bool = False) -> str:
    """
    Return the content of a secret file without surrounding blanks.

    `managed` files come from the service manager, which guards their folder itself.

    Raises:
        ConfigError: it cannot be read, is empty, or is readable by others.

    """
    check_secret(path, place, managed=managed)
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(at(place, f"cannot read {path}: {_reason(error)}")) from None
    if not text:
        raise ConfigError(at(place, f"{path} is empty"))
    return text


def is_managed(path: Path) -> bool:
    """Tell whether a file is one of the service manager's, which guards the folder and not the file."""
    return path.is_absolute() and path.parts[:3] == ("/", "run", "credentials") and ".." not in path.parts


def check_secret(path: Path, place: str, *, managed: bool = False) -> None:
    """Raise a ConfigError unless `path` is a small regular file that only its owner can read."""
    try:
        status = path.stat()
        readable = os.access(path, os.R_OK)
    except OSError as error:
        raise ConfigError(at(place, f"cannot read {path}: {_reason(error)}")) from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(at(place, f"{path} is not a file"))
    if not readable:
        raise ConfigError(at(place, f"cannot read {path}: permission denied"))
    if status.st_size > _SECRET_BYTES_MAX:
        raise ConfigError(at(place, f"{path} is too large for a secret ({status.st_size} bytes)"))
    others = stat.S_IMODE(status.st_mode) & 0o077
    if others and not managed and not is_managed(path):
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(at(place, f"{path} is open to others (mode {mode:04o}); run: chmod 600 {path}"))


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return "not UTF-8 text"
