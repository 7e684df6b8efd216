"""The pictures of an artifact: those that stages drew, and the curves of a grounding, each with its caption."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gti_cli import tables
from gti_cli.diagnostics.captions import CAPTIONS as DIAGNOSIS
from gti_cli.errors import InputError
from gti_cli.html.page import Picture, embed, embed_file
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

# By the file's name, or by what follows the artifact's name in it (`grounded_curves.png`).
CAPTIONS: Mapping[str, tuple[str, str]] = {
    **DIAGNOSIS,
    "semantic_ids": (
        "Quality of the Semantic IDs",
        "Use of the codes of each level, how much of the embeddings the levels explain, what items with a shared "
        "prefix have in common beside chance, and the first codes that most items carry.",
    ),
    "rqvae_history": (
        "Training of the quantizer",
        "Loss, used codes and collisions of the RQ-VAE over its epochs.",
    ),
    "curves": (
        "Grounding, step by step",
        "Grey: the loss of each training batch. Marks: figures of held-out pairs, which the rows never trained on. The "
        "run is done when these curves are flat; one that still falls has steps to gain.",
    ),
    "training": (
        "Fine-tuning, step by step",
        "Loss and validations over the training steps. The weights of the best validation are kept. A validation that "
        "grows worse while the training loss falls means that the model learns its training data by heart.",
    ),
    "accuracy": (
        "Accuracy over the length of the list",
        "Recall and NDCG at each cut-off, beside the baselines, with 95 % intervals over users. Where two intervals do "
        "not overlap, the difference is no accident of the sample.",
    ),
    "slices": (
        "Which users and items it serves",
        "The same figures for parts of the targets: by how often training saw the target, and by the length of the "
        "history. Popularity can find frequent targets alone; the left end shows what a model knows beyond that.",
    ),
}
_CURVES, _TRAJECTORY = "curves", "trajectory.parquet"


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture with its words.

    Attributes:
        picture: The picture.
        title: What it shows, also its alternative text.
        caption: How to read it; empty for a file whose name is unknown.
    """

    picture: Picture
    title: str
    caption: str


def pictures_of(space: Workspace, manifest: Manifest, names: Mapping[str, Manifest]) -> list[CaptionedPicture]:
    """Return the pictures of an artifact, known ones first.

    They are the PNG files in its folder (``diagnostics/x/cosine.png``) and those beside it that begin with its name
    (``grounded_curves.png``). Of a grounding without such a file the curves are drawn.

    Args:
        space: The workspace.
        manifest: Manifest of the artifact.
        names: The manifests of all artifacts by name. A file belongs to the artifact with the longest name that fits.
    """
    found = {stem: embed_file(path) for stem, path in _files(space, manifest.name, names)}
    if manifest.command == "ground" and _CURVES not in found:
        found[_CURVES] = _draw_curves(space, manifest)
    order = list(CAPTIONS)
    stems = sorted(found, key=lambda stem: (order.index(stem) if stem in order else len(order), stem))
    return [
        CaptionedPicture(picture, *CAPTIONS.get(stem, (stem.replace("_", " ").replace("-", " "), "")))
        for stem in stems
        if (picture := found[stem]) is not None
    ]


def _files(space: Workspace, name: str, names: Mapping[str, Manifest]) -> Iterator[tuple[str, Path]]:
    """Yield what each picture shows (a key of `CAPTIONS` where it is known) and its file."""
    folder = space.path(name)
    yield from ((path.stem, path) for path in sorted(folder.glob("*.png")))
    for path in sorted(folder.parent.glob("*.png")):
        stem = path.relative_to(space.root).with_suffix("").as_posix()
        owners = [other for other in names if stem == other or stem.startswith(f"{other}_")]
        if owners and max(owners, key=len) == name:
            yield stem.removeprefix(f"{name}_").rpartition("/")[2], path
    if name == "semantic_ids" and (path := space.path("rqvae_history.png")).is_file():
        yield path.stem, path


def _draw_curves(space: Workspace, manifest: Manifest) -> Picture | None:
    """Draw the curves of a grounding from its trajectory; None where there is none."""
    # Matplotlib is needed for this picture alone, so it is not loaded with the module.
    from gti_cli.grounding.plot import draw
    from gti_cli.plot_style import style

    path = space.path(manifest.name) / _TRAJECTORY
    try:
        curve = tables.read(path).to_pydict() if path.is_file() else {}
    except InputError:
        return None
    if not {"step", "loss"} <= curve.keys():
        return None
    buffer = io.BytesIO()
    with style():
        title = f"Grounding of {manifest.details.get('new_tokens', 0):,} new tokens"
        draw(curve, title).savefig(buffer, dpi=150, metadata={"Software": None}, format="png")
    return embed(buffer.getvalue())
