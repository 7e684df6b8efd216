"""`gti serve`: load a checkpoint, listen, and answer until the process is told to stop."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import InputError, list_names
from gti_cli.options import check_seed, pick, refuse_unknown
from gti_cli.serving import loading
from gti_cli.serving.listening import announce, listening, port_of, uvicorn_settings
from gti_cli.serving.options import ServeKeywords, ServeOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gti_cli.recommender.recommender import Recommender

_PACKAGES = ("fastapi", "prometheus_client", "uvicorn")
_WAITING_CONNECTIONS = 2048  # uvicorn's own number


def serve(
    workspace: Path | str = Path("gti-workspace"),
    *,
    checkpoint: str | None = None,
    base: str | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    **keywords: Unpack[ServeKeywords],
) -> None:
    """Answer requests for recommendations over HTTP. Returns when the process gets SIGTERM or SIGINT.

    Args:
        workspace: Folder of the workspace.
        checkpoint: Name or path of a checkpoint, also of an adapter of PEFT, or name of a blend. None: ``finetuned``.
        base: Base model of an adapter. None: the one that it names.
        seed: Seed of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        **keywords: See `ServeOptions`.

    Raises:
        InputError: When packages are missing, the checkpoint cannot be loaded, or the address cannot be used.
        InputError: When an option is out of range.
    """
    refuse_unknown(keywords, ServeOptions)
    options = pick(ServeOptions, keywords)
    options.check()
    check_seed(seed)
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise InputError(
            f"the server needs packages that are not installed: {list_names(missing)}",
            remedy="install them, from a clone of gti: pip install '.[serve]'",
        )
    source: dict[str, Any] = {"workspace": str(workspace), "checkpoint": checkpoint, "base": base}
    source.update(device=device, dtype=dtype, seed=seed, cache_bytes=options.prefix_cache << 20)
    with listening(options) as listener:
        if options.workers == 1:
            _serve_alone(loading.make_loader(**source), options, listener)
            return
        port = port_of(listener)
    from gti_cli.serving.workers import serve_by_workers

    with _stopped_by_signals():
        serve_by_workers(source, options, port)


def _serve_alone(load: Callable[[str | None], Recommender], options: ServeOptions, listener: socket.socket) -> None:
    """Answer in this process."""
    import uvicorn

    from gti_cli.serving.app import make_app
    from gti_cli.serving.service import Service

    service = Service(load, options)
    config = uvicorn.Config(make_app(service), **uvicorn_settings(options))
    listener.listen(_WAITING_CONNECTIONS)  # from here on connections wait for the first answers
    announce(options, port_of(listener), service.recommender)
    with _stopped_by_signals():
        uvicorn.Server(config).run(sockets=[listener])
    console.note("stopped")


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the block. uvicorn finishes what runs, then sends itself the signal once more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        """End the block as Ctrl-C does."""
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
