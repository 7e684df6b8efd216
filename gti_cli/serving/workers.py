"""Several processes that answer on one address, by uvicorn's own means. Each loads the model."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.serving import loading
from gti_cli.serving.metrics import SEVERAL_PROCESSES
from gti_cli.serving.options import ServeOptions

if TYPE_CHECKING:
    from fastapi import FastAPI

_TOLD = "GTI_SERVE_WORKER"  # what a worker is to load, as JSON
_REFUSED = "refused"  # file of a worker that could not begin
_FACTORY = "gti_cli.serving.workers:make_worker_app"
_STARTUP_FAILURE = 3  # the exit code with which a worker of uvicorn tells its parent not to start it again
_PATIENCE = 300  # seconds in which a worker must have loaded its model, and must answer its parent


def serve_by_workers(source: dict[str, Any], options: ServeOptions, port: int) -> None:
    """Start the workers, and wait until they are told to stop.

    SIGHUP to this process starts new workers one by one, so that they load the workspace as it is then.

    Args:
        source: Keywords of `Recommender.load`.
        options: What each of them does.
        port: The port.

    Raises:
        InputError: When a worker cannot begin; it has said why.
    """
    import uvicorn

    from gti_cli.serving.listening import announce, uvicorn_settings

    values = {**asdict(options), "api_key_file": str(options.api_key_file) if options.api_key_file else None}
    with tempfile.TemporaryDirectory(prefix="gti-serve-") as folder:
        # Workers are started as new programs, which read their environment: it also tells prometheus_client to share.
        told = {_TOLD: json.dumps({"source": source, "options": values}), SEVERAL_PROCESSES: folder}
        os.environ.update(told)
        announce(options, port)
        try:
            uvicorn.run(
                _FACTORY,
                factory=True,
                host=options.host,
                port=port,
                workers=options.workers,
                timeout_worker_healthcheck=_PATIENCE,
                **uvicorn_settings(options),
            )
        finally:
            for name in told:
                os.environ.pop(name, None)
        if (Path(folder) / _REFUSED).exists():
            raise InputError((Path(folder) / _REFUSED).read_text("utf-8"))


def make_worker_app() -> FastAPI:
    """Make the application of one worker, from what its environment says. uvicorn calls this in each worker."""
    from gti_cli.serving.app import make_app
    from gti_cli.serving.service import Service

    told = json.loads(os.environ[_TOLD])
    key_file = told["options"].pop("api_key_file")
    options = replace(ServeOptions(**told["options"]), api_key_file=Path(key_file) if key_file else None)
    try:
        return make_app(Service(loading.make_loader(**told["source"]), options))
    except InputError as error:
        # The first process says it, once for all workers, and ends.
        (Path(os.environ[SEVERAL_PROCESSES]) / _REFUSED).write_text(str(error), "utf-8")
        sys.exit(_STARTUP_FAILURE)
