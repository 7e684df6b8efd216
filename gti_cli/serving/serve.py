"""`gti serve`: load a checkpoint, listen, and answer until the process is told to stop."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import InputError, list_names
from gti_cli.options import check_seed, pick, refuse_unknown
from gti_cli.serving.options import ServeKeywords, ServeOptions
from gti_cli.workspace import Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gti_cli.recommender.recommender import Recommender

_PACKAGES = ("fastapi", "prometheus_client", "uvicorn")
_WAITING_CONNECTIONS = 2048  # uvicorn's own number
_GRACE = 5  # seconds beyond the timeout of a request that stopping waits for connections


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
            remedy='install them: pip install "gti-cli[serve]"',
        )
    source = {"base": base, "device": device, "dtype": dtype, "seed": seed}
    if options.workers > 1:
        from gti_cli.serving.workers import serve_by_workers

        with _listening(options) as listener:
            port = _port(listener)
        with _stopped_by_signals():
            serve_by_workers({"workspace": str(workspace), "checkpoint": checkpoint, **source}, options, port)
        return
    with _listening(options) as listener:
        _serve_alone(make_loader(workspace, checkpoint, **source), options, listener)


def _serve_alone(load: Callable[[str | None], Recommender], options: ServeOptions, listener: socket.socket) -> None:
    """Answer in this process."""
    import uvicorn

    from gti_cli.serving.app import make_app
    from gti_cli.serving.service import Service

    service = Service(load, options)
    config = uvicorn.Config(make_app(service), **uvicorn_settings(options))
    listener.listen(_WAITING_CONNECTIONS)  # from here on connections wait for the first answers
    announce(options, _port(listener), service.recommender)
    with _stopped_by_signals():
        uvicorn.Server(config).run(sockets=[listener])
    console.note("stopped")


def make_loader(workspace: Path | str, checkpoint: str | None, **keywords: Any) -> Callable[[str | None], Recommender]:
    """Return what loads the recommenders of a server.

    Args:
        workspace: Folder of the workspace.
        checkpoint: The checkpoint of the command line.
        **keywords: Further keywords of `Recommender.load`.

    Returns:
        A function that loads the checkpoint of the command line (None), or another one of the workspace by its name.
    """
    from gti_cli.recommender.recommender import Recommender

    def load(name: str | None) -> Recommender:
        if name is not None and name != checkpoint:
            _check_is_in(Workspace(workspace), name)
        return Recommender.load(workspace, name if name is not None else checkpoint, **keywords)

    return load


def _check_is_in(space: Workspace, name: str) -> None:
    """Refuse names that are none of the workspace: a client must not have the server read any folder."""
    if name not in space.manifests():
        raise InputError(
            f"the workspace has no checkpoint {name!r}", remedy="give the name of a checkpoint that 'gti status' lists"
        )


def uvicorn_settings(options: ServeOptions) -> dict[str, Any]:
    """Return the keywords of `uvicorn.Config`.

    Args:
        options: Where the server listens.
    """
    import copy

    from uvicorn.config import LOGGING_CONFIG

    logs = copy.deepcopy(LOGGING_CONFIG)
    logs["handlers"]["access"]["stream"] = "ext://sys.stderr"  # stdout carries the result alone
    return {
        "log_config": logs,
        "log_level": "info" if options.access_log else "warning",
        "access_log": options.access_log,
        "lifespan": "on",
        "ws": "none",
        "server_header": False,
        "timeout_graceful_shutdown": int(options.timeout) + _GRACE,
    }


def announce(options: ServeOptions, port: int, recommender: Recommender | None = None) -> None:
    """Say where the server answers.

    Args:
        options: The address.
        port: The port, which ``options`` may leave open.
        recommender: What answers; None where each worker loads its own.
    """
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{port}"
    what = f"{recommender.name}, {len(recommender.item_ids):,} items" if recommender else f"{options.workers} workers"
    console.say(f"{url}  ({what}; stop with Ctrl-C)")
    console.result({"url": url, **({"checkpoint": recommender.name} if recommender else {})})
    sys.stdout.flush()  # a program that starts the server waits for this line


@contextmanager
def _listening(options: ServeOptions) -> Iterator[socket.socket]:
    """Open the address, before the model is loaded: a port in use is an error of the first second."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {options.host!r} is no address of this machine ({error})") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise InputError(
                f"cannot listen on {options.host}, port {options.port} ({error.strerror})",
                remedy="give another --port, or end the program that uses it",
            ) from error
        yield listener


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the block. uvicorn finishes what runs, then sends itself the signal once more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
