"""Small adapters of PEFT with random weights, and the logits that peft itself computes with them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

IDS = torch.arange(2, 26).reshape(2, 12)
LAYERS = ["q_proj", "v_proj"]


def write_adapter(
    base: Path, folder: Path, *, resize: int | None = None, whole_rows: bool = True, **settings: Any
) -> torch.Tensor:
    """Write an adapter for the model in ``base``; returns the logits of `IDS` with the adapter beside the model.

    ``resize``: the vocabulary's size in the training of the adapter; without ``whole_rows`` the grown matrices are not
    stored with it. ``settings``: those of peft's `LoraConfig`.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(1)
    if resize is not None:
        model.resize_token_embeddings(resize, mean_resizing=False)
    config = LoraConfig(**{"r": 2, "target_modules": LAYERS, "task_type": "CAUSAL_LM", **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, config).eval()
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn_like(parameter)
            logits: torch.Tensor = adapted(input_ids=IDS).logits
        adapted.save_pretrained(str(folder), save_embedding_layers="auto" if whole_rows else False)
    return logits
