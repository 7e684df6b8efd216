"""`gti serve`: a checkpoint that stays loaded and answers over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from gti_cli.commands.options import (
    DEFAULT_WORKSPACE,
    AdapterOptions,
    CommonOptions,
    WorkspaceOption,
    expand_options,
)
from gti_cli.serving.options import ServeOptions


def _serve(
    options: ServeOptions,
    adapter: AdapterOptions,
    checkpoint: Annotated[
        str | None, typer.Argument(help="Checkpoint or blend of the workspace, or a folder (default: finetuned).")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    common: CommonOptions = CommonOptions(),
) -> None:
    """Keep a checkpoint loaded, and answer requests for recommendations over HTTP."""
    common.configure_console()
    from gti_cli.serving.serve import serve as stage

    chosen, base = adapter.merged([checkpoint] if checkpoint is not None else [], workspace, common)
    stage(
        workspace,
        checkpoint=chosen[0] if chosen else None,
        base=base,
        seed=common.seed,
        device=common.device,
        dtype=common.dtype,
        **vars(options),
    )


serve = expand_options(
    _serve,
    {ServeOptions: "The server", AdapterOptions: "Adapters (PEFT)"},
    common=("seed", "device", "dtype", "json_output", "quiet", "offline"),
)
