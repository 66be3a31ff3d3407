"""Access to the Hugging Face Hub: from the local cache alone where it is asked for, or where there is no network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import huggingface_hub
import huggingface_hub.constants  # which huggingface_hub alone does not bring

_LOCAL_ONLY = ContextVar("_LOCAL_ONLY", default=False)  # whether files are read from this machine alone
PROXIES = {name for word in ("all", "http", "https") for name in (f"{word}_proxy", f"{word}_proxy".upper())}


def is_local_only() -> bool:
    """Whether files are read from this machine alone, since `local_weights_only` asks for it."""
    return _LOCAL_ONLY.get()


@contextmanager
def local_weights_only() -> Iterator[None]:
    """Load weights of tags from the local cache only; what is not there is an error that says how to ask for it."""
    before, asked = huggingface_hub.constants.HF_HUB_OFFLINE, _LOCAL_ONLY.set(True)
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before
        _LOCAL_ONLY.reset(asked)


@contextmanager
def offline_without_hub() -> Iterator[None]:
    """Use the local cache only if the hub is not reachable, instead of retrying for a minute."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    if not _LOCAL_ONLY.get():
        try:
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
        except Exception:  # any failure means the same: not reachable
            huggingface_hub.constants.HF_HUB_OFFLINE = True
    # Even offline, the hub's client would fail over a proxy of a kind that it does not know.
    unused = PROXIES & os.environ.keys() if huggingface_hub.constants.HF_HUB_OFFLINE else set[str]()
    proxies = {name: os.environ.pop(name) for name in unused}
    try:
        yield
    finally:
        os.environ.update(proxies)
        huggingface_hub.constants.HF_HUB_OFFLINE = before
