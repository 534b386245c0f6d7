"""PyBullet without its greetings: import `pybullet` and `pybullet_data` from here.

Its C code prints the build time on import, and its arguments on connecting. Only those lines are dropped; all other
output, such as an error, is passed on to stderr.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_GREETINGS = re.compile(rb"(?:pybullet build time: .*|argv\[0\]=.*)\r?\n?")


@contextmanager
def silenced() -> Iterator[None]:
    """Drop PyBullet's greetings from the output to file descriptors 1 and 2 within the context."""
    _flush()
    with tempfile.TemporaryFile() as caught:
        try:
            kept = [os.dup(descriptor) for descriptor in (1, 2)]
        except OSError:  # a daemon with closed descriptors: nobody reads what is written
            yield
            return
        try:
            for descriptor in (1, 2):
                os.dup2(caught.fileno(), descriptor)
            yield
        finally:
            _flush()
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
            caught.seek(0)
            for line in caught:
                if not _GREETINGS.fullmatch(line):
                    os.write(2, line)


def _flush() -> None:
    """Flush the buffers of Python and C: C buffers lines if stdout is no terminal."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    ctypes.CDLL(None).fflush(None)


with silenced():
    import pybullet
    import pybullet_data
    from pybullet_utils.bullet_client import BulletClient

__all__ = ["BulletClient", "connect", "pybullet", "pybullet_data", "silenced"]


class _Client(BulletClient):
    """Keeps each function that it has bound to its server: a trial calls a thousand."""

    def __getattr__(self, name: str) -> Any:
        attribute = super().__getattr__(name)
        if name not in ("disconnect", "isConnected"):  # these change when the server is released
            self.__dict__[name] = attribute
        return attribute


def connect() -> BulletClient:
    """Return a new physics server in this process."""
    with silenced():
        return _Client(connection_mode=pybullet.DIRECT)
