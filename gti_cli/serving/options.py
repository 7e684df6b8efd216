"""Options of `gti serve`. Imports neither torch nor a web framework."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from gti_cli.errors import InputError
from gti_cli.options import option
from gti_cli.recommender.settings import EXACT_PROMPTS, SEARCHES

_MOST_PORT = 65_535


@dataclass(frozen=True)
class ServeOptions:
    """Where the server listens, how it shares out work, and what it refuses.

    Attributes:
        host: Address to listen on. Any but a loopback address needs ``api_key_file``.
        port: Port to listen on; 0 takes a free one.
        api_key_file: File with one key on each line. None: no key is asked for.
        workers: Processes. Each loads the model.
        search: ``exact``, ``beam`` or ``auto``, as in `gti recommend`.
        beams: Hypotheses of the beam search. None: as many as items, 20 or more.
        prefix_cache: MiB of memory for users' prompts that were read before. 0: every request is read in full.
        max_batch: Most users or queries that the model answers at once.
        max_wait_ms: Most milliseconds that the model waits for more requests to answer at once. It waits for as many as
            it answered the time before, since those clients often ask again.
        max_queue: Most users and queries that wait; requests beyond get 503.
        timeout: Seconds after which a request that is not yet answered gets 504.
        max_users: Most users of one request.
        max_history: Most items of one history.
        max_k: Most items of one list.
        max_body_kb: Largest body of a request, in units of 1,024 bytes.
        access_log: Whether to print a line for each request.
    """

    host: str = option("127.0.0.1", "Address to listen on. Any but this machine's own needs --api-key-file.")
    port: int = option(8000, "Port to listen on; 0 takes a free one.")
    api_key_file: Path | None = option(
        None, "File of keys, one a line. A request needs one: Authorization: Bearer KEY, or X-API-Key: KEY."
    )
    workers: int = option(1, "Processes. Each loads the model.")
    search: str = option("auto", "exact, beam or auto, as in gti recommend; auto is exact here.")
    beams: int | None = option(None, "Hypotheses of the beam search.", shown="as many as items, 20 or more")
    prefix_cache: int = option(
        0, "MiB of memory for users' prompts that were read before. Scores then depend on them, by rounding alone."
    )
    max_batch: int = option(32, "Most users or queries that the model answers at once.")
    max_wait_ms: float = option(10.0, "Most milliseconds that the model waits for more requests to answer at once.")
    max_queue: int = option(1024, "Most users and queries that wait. Requests beyond get 503 with Retry-After.")
    timeout: float = option(30.0, "Seconds after which a request that is not answered yet gets 504.")
    max_users: int = option(64, "Most users of one request.")
    max_history: int = option(1000, "Most items of one history; the prompt shows the last of them.")
    max_k: int = option(100, "Most items of one list.")
    max_body_kb: int = option(1024, "Largest body of a request, in KiB.")
    access_log: bool = option(False, "Print a line for each request on stderr.")

    def check(self) -> None:
        """Check the values.

        Raises:
            InputError: When a value is out of range, or the address is open to other machines without a key.
        """
        if not 0 <= self.port <= _MOST_PORT:
            raise InputError(f"--port {self.port} is no port", remedy=f"give a number from 0 to {_MOST_PORT:,}")
        if self.search not in SEARCHES:
            raise InputError(f"--search {self.search!r} is not known", remedy="use auto, beam or exact")
        for name in ("workers", "max_batch", "max_queue", "max_users", "max_history", "max_k", "max_body_kb"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be positive", remedy="use 1 or more")
        if self.prefix_cache < 0:
            raise InputError(f"--prefix-cache {self.prefix_cache} is no size", remedy="use 0 or more MiB")
        if self.beams is not None and self.beams < self.max_k:
            raise InputError(
                f"--beams {self.beams} is fewer than the {self.max_k} items that a request may ask for (--max-k)",
                remedy=f"use --beams {self.max_k} or more, or a smaller --max-k",
            )
        if self.max_batch > EXACT_PROMPTS:  # `--search auto` would turn from exact to beams, by what comes together
            raise InputError(f"--max-batch {self.max_batch:,} is too much", remedy=f"use {EXACT_PROMPTS} or less")
        if not 0 <= self.max_wait_ms <= 10_000:
            raise InputError(f"--max-wait-ms {self.max_wait_ms:g} is out of range", remedy="use 0 to 10000")
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"--timeout {self.timeout:g} is no time in seconds", remedy="use for example 30")
        if self.max_queue < self.max_users:
            raise InputError(
                f"--max-queue {self.max_queue} has no room for a request of {self.max_users} users (--max-users)",
                remedy=f"use {self.max_users} or more",
            )
        if self.api_key_file is None and not self.is_loopback:
            raise InputError(
                f"--host {self.host} lets other machines ask, and no key is set",
                remedy="name a file of keys with --api-key-file, or leave --host out",
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class ServeKeywords(TypedDict, total=False):
    """`ServeOptions` as keywords."""

    host: str
    port: int
    api_key_file: Path | None
    workers: int
    search: str
    beams: int | None
    prefix_cache: int
    max_batch: int
    max_wait_ms: float
    max_queue: int
    timeout: float
    max_users: int
    max_history: int
    max_k: int
    max_body_kb: int
    access_log: bool
