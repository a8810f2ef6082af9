"""A time limit for a whole request to a server, not only between two of its bytes.

MLflow's timeout starts again with each byte and each redirect. A server that sends one now and
then, or never ends its answer, would hold up a delivery for as long as it likes. MLflow makes
the sessions of its requests itself and takes none, so the limit is put around
`requests.Session.request`.
"""

import functools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

MOST = 256_000_000
"""Bytes of the largest answer."""
SLOWEST = 100_000
"""Bytes a second at which files are sent."""


@contextmanager
def every_request() -> Iterator[None]:
    """Inside, each request of the main thread ends in time."""
    before = requests.Session.request

    @functools.wraps(before)
    def request(session: requests.Session, method: Any, url: Any, **more: Any) -> Any:
        known = more.get("timeout")  # which is MLFLOW_HTTP_REQUEST_TIMEOUT
        seconds = known if isinstance(known, (int, float)) else 10
        with _within(seconds + _size(more.get("data")) / SLOWEST):
            response = before(session, method, url, **more | {"stream": True})
            return response if more.get("stream") else _whole(response)

    requests.Session.request = request  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        requests.Session.request = before  # type: ignore[method-assign]


def _whole(response: requests.Response) -> requests.Response:
    """The response, its content read up to a limit."""
    content = bytearray()
    for chunk in response.iter_content(1_000_000):
        content += chunk
        if len(content) > MOST:
            response.close()
            raise requests.exceptions.ContentDecodingError(
                f"the answer is larger than {MOST // 1_000_000} MB"
            )
    response._content = bytes(content)
    return response


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise a timeout after so long. Only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signum: int, frame: Any) -> None:
        raise requests.exceptions.ReadTimeout(f"timed out: not ended after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    # Repeated, in case something swallows the error.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)


def _size(data: Any) -> int:
    """Bytes of what is sent: a file, or part of one."""
    try:
        return len(data) if isinstance(data, (bytes, str)) else os.fstat(data.fileno()).st_size
    except (AttributeError, OSError, ValueError):
        return 0
