"""New rows from what the new tokens mean, without training: from descriptions, from item texts, from codebooks.

Each function takes the pretrained rows (V, d) of one matrix, so an untied head starts from its own words' rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.errors import InputError, examples
from gti_cli.tensors.matrix_rows import MatrixRows, blocks
from gti_cli.vocabulary.initializers import mean_row

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from transformers import PreTrainedTokenizerBase

_MOST_TOKENS = 2048  # of a text, as the paper encodes items
_COLUMNS = 8192  # words whose rows are brought to float32 at a time


@dataclass(frozen=True)
class Meanings:
    """What is known about n new tokens.

    Attributes:
        names: of the tokens. descriptions: one for each ("" where there is none); empty if there are none at all.
        texts: of N items. places: (N, L) for each item the numbers of its tokens among ``names``, level by level.
        codebooks: (K_l, d_code) for each level, in the order of ``names``.
        structural: further new tokens, behind the others, that mean nothing by themselves (begin and end of an item).
    """

    names: list[str]
    descriptions: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    places: npt.NDArray[np.int64] | None = None
    codebooks: list[npt.NDArray[np.float32]] = field(default_factory=list)
    structural: list[str] = field(default_factory=list)

    @property
    def all_names(self) -> list[str]:
        """All new tokens in the order of their ids."""
        return [*self.names, *self.structural]


@dataclass(frozen=True)
class Placement:
    """How rows are placed around the mean of the pretrained rows.

    Attributes:
        distance: from it, in units of the pretrained rows' root mean square distance. At 1 new rows are loud: old
            rows have learned to keep away from the contexts that they do not fit, new ones have not, and a logit that
            spreads by s at random counts as exp(s^2 / 2). At `QUIET` they keep their angles and took less than 5 % of
            ordinary text on the models that we measured; effective rank fell by 5 to 11 %.
    seed: of `text_permuted`.
    """

    distance: float = 1.0
    seed: int = 0


AT_USUAL_DISTANCE = Placement()


def subword(
    rows: MatrixRows, meanings: Meanings, tokenizer: PreTrainedTokenizerBase, how: Placement = AT_USUAL_DISTANCE
) -> torch.Tensor:
    """The mean of the pieces of each token's description, as the tokenizer cut it before the extension; (n, d).

    ``how`` has no part in it: the mean of rows that the model knows is left where it is.

    Raises:
        InputError: a token without a description.
    """
    bare = [name for name, text in zip(meanings.names, meanings.descriptions, strict=False) if not text]
    if bare or not meanings.descriptions:
        raise InputError(
            f"--init subword needs a description of every token; {examples(bare or meanings.names)} have none",
            remedy="add a column `description` to --tokens; for semantic IDs use --init text",
        )
    pieces = tokenizer(meanings.descriptions, add_special_tokens=False)["input_ids"]
    return torch.stack([rows[torch.tensor(ids)].float().mean(0) for ids in pieces])


def text(
    rows: MatrixRows, meanings: Meanings, tokenizer: PreTrainedTokenizerBase, how: Placement = AT_USUAL_DISTANCE
) -> torch.Tensor:
    """For each code what the words of its items have that those of all items have not; (n, d).

    A text is the mean of its words' pretrained rows, weighted by rarity: log(N / number of items with the word). A code
    is the mean of its items' texts, less the mean of all items, brought to ``how.distance`` times the usual distance of
    a pretrained row from the mean of the pretrained rows, and put there. Codes without items get the mean. Tokens that
    are no codes take their descriptions for texts.
    """
    centre, apart, _, _ = _apart(rows, meanings, tokenizer)
    return (centre + at_norm(apart, how.distance * usual_norm(rows, centre))).float()


def text_permuted(
    rows: MatrixRows, meanings: Meanings, tokenizer: PreTrainedTokenizerBase, how: Placement = AT_USUAL_DISTANCE
) -> torch.Tensor:
    """The rows of `text`, dealt out anew among the codes of each level; (n, d). A control for studies.

    Spectrum, norms and loudness are those of `text`; what a row says belongs to another code. What a model gains from
    `text` over this, it gains from meaning.
    """
    found = text(rows, meanings, tokenizer, how)
    generator = torch.Generator().manual_seed(how.seed)
    level = _levels(meanings)
    out = found.clone()
    for number in range(int(level.max()) + 1):
        mine = torch.nonzero(level == number).flatten()
        out[mine] = found[mine[torch.randperm(len(mine), generator=generator)]]
    return out


def text_lstsq(
    rows: MatrixRows, meanings: Meanings, tokenizer: PreTrainedTokenizerBase, how: Placement = AT_USUAL_DISTANCE
) -> torch.Tensor:
    """Rows of which the sum over an item's codes comes nearest the item's text, all levels at once; (n, d).

    Ridge regression: min over R of |A R - T|^2 + |R|^2, A (N, n) being 1 where an item has a code, T (N, d) the texts
    of `text` less their mean. So the second level says what the first has left open, where `text` repeats it. One
    factor brings the rows' root mean square to the distance at which `text` puts them: the sums keep their proportions.
    """
    centre, apart, incidence, counts = _apart(rows, meanings, tokenizer)
    # A^T T without T: for each code the sum over its items.
    target = apart.numpy() * counts[:, None]
    found = torch.from_numpy(_solve_ridge((incidence @ incidence.T).tocsr(), target))
    rms = float(found.square().sum(1)[torch.from_numpy(counts > 0)].mean().sqrt())
    return (centre + found * (how.distance * usual_norm(rows, centre) / max(rms, 1e-300))).float()


def _solve_ridge(gram: csr_matrix, target: npt.NDArray[np.float64], tolerance: float = 1e-9) -> npt.NDArray[np.float64]:
    """Solve (gram + 1) R = target, each column of (n, d), by conjugate gradients (Hestenes & Stiefel 1952).

    Its eigenvalues lie between 1 and the number of levels times the size of the largest code, so it converges in tens
    of steps; every column runs until its residual is below ``tolerance`` of its target.
    """
    solution = np.zeros_like(target)
    residual, direction = target.copy(), target.copy()
    squared = (residual**2).sum(0)
    goal = tolerance**2 * squared
    for _ in range(10 * len(target)):
        if (squared <= goal).all():
            break
        product = gram @ direction + direction
        curvature = (direction * product).sum(0)
        step = np.divide(squared, curvature, out=np.zeros_like(squared), where=curvature > 0)
        solution += step * direction
        residual -= step * product
        before, squared = squared, (residual**2).sum(0)
        direction = residual + np.divide(squared, before, out=np.zeros_like(squared), where=before > 0) * direction
    return solution


def _apart(
    rows: MatrixRows, meanings: Meanings, tokenizer: PreTrainedTokenizerBase
) -> tuple[torch.Tensor, torch.Tensor, csr_matrix, npt.NDArray[np.float64]]:
    """(d,) mean row, (n, d) what each token's texts have beside those of all, (n, N) its texts, (n,) how many."""
    words, incidence, counts = _words(meanings, tokenizer, len(rows))
    centre = mean_row(rows)
    # (n, V) in one sparse product: the rows are read block by block, never copied whole.
    weights = (_rows_to_one(incidence) @ words).tocsc()
    found = torch.zeros(weights.shape[0], rows.shape[1], dtype=torch.float64)
    used = np.flatnonzero(np.diff(weights.indptr))
    for start in range(0, len(used), _COLUMNS):
        columns = used[start : start + _COLUMNS]
        block = rows[torch.from_numpy(columns)].double() - centre
        found += torch.from_numpy(weights[:, columns] @ block.numpy())
    has_items = torch.from_numpy(counts > 0)
    found[has_items] -= _common(meanings, found, torch.from_numpy(counts))[has_items]
    return centre, found, incidence, counts


def codebook(
    rows: MatrixRows, meanings: Meanings, tokenizer: PreTrainedTokenizerBase, how: Placement = AT_USUAL_DISTANCE
) -> torch.Tensor:
    """The codebooks' vectors, turned into the embedding space by the isometry that brings them nearest `text`; (n, d).

    Orthogonal Procrustes (Schönemann 1966): angles between codes are those of the codebooks, their place among the
    words is that of their items' words. Lengths are as in `text`. A code space wider than the embedding space keeps its
    directions of largest overlap with `text`.

    Raises:
        InputError: there are no codebooks.
    """
    if not meanings.codebooks:
        raise InputError("--init codebook needs the codebooks of semantic IDs", remedy="run 'gti build-ids' first")
    codes = torch.from_numpy(np.concatenate([np.asarray(level, np.float64) for level in meanings.codebooks]))
    centre = mean_row(rows)
    wanted = text(rows, meanings, tokenizer).double() - centre
    left, _, right = torch.linalg.svd(codes.T @ wanted, full_matrices=False)
    return (centre + at_norm(codes @ (left @ right), how.distance * usual_norm(rows, centre))).float()


def usual_norm(rows: MatrixRows, centre: torch.Tensor) -> float:
    """Root mean square distance of the pretrained rows (V, d) from their mean."""
    total = sum(float((block.double() - centre).square().sum()) for block in blocks(rows))
    return float(np.sqrt(total / len(rows)))


def at_norm(vectors: torch.Tensor, norm: float) -> torch.Tensor:
    """Vectors (n, d) brought to length ``norm``; those of length zero stay."""
    lengths = vectors.norm(dim=1, keepdim=True)
    return torch.where(lengths > 1e-12 * norm, vectors * (norm / lengths.clamp(min=1e-300)), 0)


def _words(
    meanings: Meanings, tokenizer: PreTrainedTokenizerBase, vocabulary: int
) -> tuple[csr_matrix, csr_matrix, npt.NDArray[np.float64]]:
    """(N, V) words in texts, weights that sum to 1 in a row; (n, N) texts of tokens, 1 or 0; (n,) how many texts."""
    from scipy.sparse import coo_matrix

    texts, places = meanings.texts, meanings.places
    if places is None:
        texts, places = meanings.descriptions, np.arange(len(meanings.descriptions))[:, None]
    if not any(texts):
        raise InputError(
            "--init text needs texts, and there are none",
            remedy="use it with semantic IDs, or add a column `description` to --tokens",
        )
    pieces = [ids[:_MOST_TOKENS] for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    lengths = [len(ids) for ids in pieces]
    words = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in pieces])
    owner = np.repeat(np.arange(len(texts)), lengths)
    counted = coo_matrix((np.ones(len(words)), (owner, words)), shape=(len(texts), vocabulary)).tocsr()
    documents = np.bincount(counted.indices, minlength=vocabulary)
    # One text alone has no rare words: then all weigh the same.
    rarity = np.log((1 + len(texts)) / (1 + documents)) + 1e-6
    weighted = counted.multiply(rarity).tocsr()
    items = np.repeat(np.arange(len(texts)), places.shape[1])
    known = np.asarray([length > 0 for length in lengths])[items]
    shape = (len(meanings.names), len(texts))
    member = coo_matrix((known.astype(np.float64), (places.ravel(), items)), shape=shape).tocsr()
    return _rows_to_one(weighted), member, np.asarray(member.sum(1)).ravel()


def _rows_to_one(matrix: csr_matrix) -> csr_matrix:
    from scipy.sparse import diags

    sums = np.asarray(matrix.sum(1)).ravel()
    return (diags(np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)) @ matrix).tocsr()


def _common(meanings: Meanings, found: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """What all texts have in common, (n, d): for each token the mean over its level, weighted by ``counts`` (n,)."""
    level = _levels(meanings)
    levels = 1 if meanings.places is None else meanings.places.shape[1]
    total = torch.zeros(levels, found.shape[1], dtype=torch.float64).index_add_(0, level, found * counts[:, None])
    weight = torch.zeros(levels, dtype=torch.float64).index_add_(0, level, counts)
    return (total / weight.clamp(min=1)[:, None])[level]


def _levels(meanings: Meanings) -> torch.Tensor:
    """(n,) level of each token; 0 where tokens are no codes, or where no item has the code."""
    level = torch.zeros(len(meanings.names), dtype=torch.int64)
    if meanings.places is not None:
        for number, places in enumerate(meanings.places.T):
            level[torch.from_numpy(places)] = number
    return level


FROM_MEANING: dict[str, Callable[[MatrixRows, Meanings, Any, Placement], torch.Tensor]] = {
    "subword": subword,
    "text": text,
    "text-lstsq": text_lstsq,
    "text-permuted": text_permuted,
    "codebook": codebook,
}
PLACED = ("text", "text-lstsq", "text-permuted", "codebook")  # those that heed a `Placement`
