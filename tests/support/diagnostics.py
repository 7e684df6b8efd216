"""Checkpoints made by hand for the tests of the diagnosis: a tiny model with new tokens whose rows are chosen."""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from gti_cli import tables
from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.checkpoints.new_tokens import NewTokens, write_new_tokens
from gti_cli.checkpoints.token_names import all_names
from gti_cli.diagnostics.checkpoint_rows import CheckpointMatrix, CheckpointRows
from gti_cli.diagnostics.inputs import DiagnosedCheckpoint
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest
from tests.support.models import make_model, make_tokenizer

SIZES = (6, 6, 6)
WIDTH = 32
D_CODE = 8


def codebooks(sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, D_CODE)).astype(np.float32) for size in sizes]


def write_codebooks(path: Path, sizes=SIZES, seed=0) -> Path:
    save_file({f"level_{level}": book for level, book in enumerate(codebooks(sizes, seed))}, path)
    return path


def new_rows(kind: str, n: int, seed=0) -> np.ndarray:
    """``collapsed``: one point; ``scattered``: noise; ``grounded``: a linear image of the codebooks."""
    rng = np.random.default_rng(seed + 1)
    if kind == "collapsed":
        return np.repeat(rng.standard_normal((1, WIDTH)), n, axis=0)
    if kind == "scattered":
        return rng.standard_normal((n, WIDTH))
    return np.vstack(codebooks())[:n] @ rng.standard_normal((D_CODE, WIDTH))


def make_extended(
    folder: Path, kind="grounded", *, arch="qwen3", tied=True, ours=True, dtype=torch.float32, output=None, **save
) -> Path:
    """Write a checkpoint with the tokens of `SIZES` behind its vocabulary; ``output``: kind of the head's rows."""
    names = all_names(SIZES)
    tokenizer = make_tokenizer()
    base = len(tokenizer)
    tokenizer.add_tokens(names)
    model = make_model(arch, base, tied=tied, width=WIDTH)
    model.resize_token_embeddings(base + len(names), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[base:] = torch.tensor(new_rows(kind, len(names)))
        if output is not None:
            model.get_output_embeddings().weight[base:] = torch.tensor(new_rows(output, len(names)))
    model.to(dtype).save_pretrained(folder, **save)
    tokenizer.save_pretrained(folder)
    if ours:
        levels = np.repeat(np.arange(len(SIZES), dtype=np.int32), SIZES)
        codes = np.concatenate([np.arange(size, dtype=np.int32) for size in SIZES])
        ids = np.arange(base, base + len(names), dtype=np.int64)
        write_new_tokens(folder, NewTokens(names, ids, levels, codes))
    return folder


def write_stage(space: Workspace, name, kind, start=None, log=None, steps=None, **options) -> None:
    """Write a checkpoint into the workspace, with a manifest that says that it was trained from ``start``."""
    upstream = {start: space.manifest(start)} if start else {}
    how = {"kind": kind, "from": start}
    with space.stage("made", name, [name], options=how, upstream=upstream, checkpoint=True) as run:
        make_extended(run.path(name), kind, **options)
        if log:
            tables.write(run.path(name) / "trajectory.parquet", log)
        if steps:
            run.counts["steps"] = steps


def write_items(space: Workspace, texts: list[str]) -> None:
    """Write semantic IDs, codebooks of `SIZES` and items into the workspace; no item carries code 5 of level 2."""
    outputs = ["codebooks.safetensors", "semantic_ids.parquet", "items.parquet"]
    with space.stage("build-ids", "semantic_ids", outputs, options={}) as run:
        write_codebooks(run.path("codebooks.safetensors"))
        codes = [[i % 6, (i // 6) % 6, i % 5] for i in range(len(texts))]
        ids = {"item_id": [str(i) for i in range(len(texts))], "codes": codes, "tokens": [""] * len(texts)}
        tables.write(run.path("semantic_ids.parquet"), ids)
        tables.write(run.path("items.parquet"), {"item_id": ids["item_id"], "text": texts})
        run.details["identity"] = "these"


def made_manifest(name: str, *upstream: str, **counts) -> Manifest:
    """A manifest of an artifact whose identity is its name."""
    return Manifest(name, "made", {}, 0, {}, {x: x for x in upstream}, {}, {"identity": name}, counts, {}, "", {})


def made_checkpoint(label: str, matrices=None, manifest=None, names=None) -> DiagnosedCheckpoint:
    """A checkpoint that was never read: ``matrices`` maps names of matrices to new rows (n, d)."""
    matrices = {"input": new_rows("scattered", 5)} if matrices is None else matrices
    count = len(next(iter(matrices.values())))
    tokens = tokens_of([-1] * count, [-1] * count)
    if names is not None:
        tokens = NewTokens(names, tokens.ids, tokens.levels, tokens.codes)
    none = np.zeros(0, dtype=np.int64)
    read = {name: CheckpointMatrix(None, rows.astype(np.float32), pretrained()) for name, rows in matrices.items()}
    rows = CheckpointRows(Path(label), tokens, None, none, none, read)
    return DiagnosedCheckpoint(label, rows, None, np.arange(count), None, None, manifest)


def tokens_of(levels, codes):
    names = [f"t{i}" for i in range(len(levels))]
    return NewTokens(names, np.arange(len(levels)), np.asarray(levels, np.int32), np.asarray(codes, np.int32))


CODEBOOK_VECTORS = match_codebooks(tokens_of(np.repeat([0, 1, 2], SIZES), np.tile(np.arange(6), 3)), codebooks(), "x")


def pretrained(n=100, seed=9):
    return np.random.default_rng(seed).standard_normal((n, 32)).astype(np.float32)


def badly_placed(figure, monkeypatch):
    """Texts of a figure that overlap one another or leave it; empty where all can be read."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    # The first pass lays out. The second one leaves all in place, so what is noted is what is seen.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    drawn = {}
    draw = Text.draw

    def note(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            drawn[self] = self.get_window_extent(renderer)
        return draw(self, renderer, *args, **kwargs)

    monkeypatch.setattr(Text, "draw", note)
    figure.draw_without_rendering()
    monkeypatch.undo()
    width, height = canvas.get_width_height()
    texts = [(text.get_text(), box) for text, box in drawn.items()]
    outside = [text for text, box in texts if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]
    pairs = [(a, b) for i, (a, one) in enumerate(texts) for b, two in texts[i + 1 :] if one.overlaps(two)]
    return outside + pairs
