"""The new rows of an output head as one matrix, with their biases as last coordinate, read and written."""

from __future__ import annotations

import torch

from gti_cli.grounding.trainable_rows import NewRows


def head_rows(rows: NewRows) -> torch.Tensor:
    """The head's new rows (n, d) float64, or (n, d + 1) with their biases behind them; a copy."""
    matrix = (rows.embedding if rows.output is None else rows.output).detach().double()
    return matrix.clone() if rows.bias is None else torch.cat([matrix, rows.bias.detach().double()[:, None]], dim=1)


@torch.no_grad()
def put_head_rows(rows: NewRows, matrix: torch.Tensor) -> None:
    """Write what `head_rows` returned back; with a tied head these are the input rows, too."""
    parameter = rows.embedding if rows.output is None else rows.output
    parameter.copy_(matrix[:, : parameter.shape[1]])
    if rows.bias is not None:
        rows.bias.copy_(matrix[:, -1])
