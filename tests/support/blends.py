"""Made-up recommenders whose best blend is known."""

from __future__ import annotations

import numpy as np

from gti_cli.blends.candidate_table import union
from gti_cli.blends.fit import MemberScores
from gti_cli.blends.mixing import find_contexts


def made_up_scores(
    users: int = 400, items: int = 60, length: int = 20, seed: int = 0
) -> tuple[MemberScores, np.ndarray]:
    """Two recommenders that each know one part of the truth, and one that knows nothing; and the targets."""
    rng = np.random.default_rng(seed)
    first, second, noise = (rng.normal(size=(users, items)) for _ in range(3))
    targets = (2 * first + 2 * second + rng.gumbel(size=(users, items))).argmax(axis=1)
    # Their scores have different scales and zero points, as those of real recommenders have.
    said = {"first": 10 * first - 50, "second": 0.1 * second, "noise": noise}
    lists = [np.argsort(-scores, axis=1)[:, :length] for scores in said.values()]
    candidates = union(lists, [[] for _ in range(users)], filter_seen=False)
    owners, rows = candidates.owners, candidates.rows
    listed = np.zeros((len(said), len(rows)), dtype=bool)
    for member, columns in enumerate(lists):
        listed[member] = (columns[owners] == rows[:, None]).any(axis=1)
    contexts = find_contexts(np.full(len(rows), 3), rng.integers(0, 200, items)[rows])
    scores = np.stack([values[owners, rows] for values in said.values()])
    return MemberScores(tuple(said), candidates, scores, listed, contexts), targets
