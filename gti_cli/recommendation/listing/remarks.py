"""What `gti recommend` says about its lists: what prompts do not show, what a search may have missed, short lists."""

from __future__ import annotations

from gti_cli import console
from gti_cli.decoding.ranked_items import ItemLists
from gti_cli.prompts.text_as_data import note_naming
from gti_cli.recommendation.requests import RecommendationRequests, RecommendOptions
from gti_cli.recommender import settings
from gti_cli.recommender.loaded_model import Prompts
from gti_cli.recommender.search import FoundLists


class Remarks:
    """What there is to say about all lists, counted piece by piece and said once.

    Args:
        options: How the lists are made.
        requests: All requests.
    """

    def __init__(self, options: RecommendOptions, requests: RecommendationRequests) -> None:
        self._options, self._unit, self._total = options, requests.unit, len(requests)
        self._naming = self._asked = 0
        self._searched = self._short = self._unproven = self._missed = self._cut_items = self._cut_queries = 0
        self._is_exact = False

    def prompts(self, prompts: Prompts) -> None:
        """Count what prompts do not show."""
        self._cut_items += sum(prompts.cut)
        self._cut_queries += prompts.queries_cut
        self._naming += prompts.queries_naming
        self._asked += len(prompts.ids)

    def lists(self, found: FoundLists) -> None:
        """Count what lists may lack."""
        self._searched += len(found.lists)
        self._short += int((ItemLists.of(found.lists).lengths < self._options.k).sum())
        self._unproven += found.proven.count(False)
        self._missed += found.missed
        self._is_exact = found.is_exact

    def say(self, shown: int) -> None:
        """Say it on stderr.

        Args:
            shown: Most items of a history that a prompt shows.
        """
        if self._cut_queries:
            console.note(f"{self._cut_queries:,} queries are longer than a prompt shows, and were cut")
        note_naming(self._naming, self._asked, self._unit)
        if self._cut_items:
            console.note(f"{self._cut_items:,} items lie further back than the {shown} that a prompt shows")
        if not self._searched:
            return
        if self._options.search == "exact":
            console.note(f"the beam alone would have missed {self._missed:,} semantic IDs")
        if self._unproven:
            # How many users or queries the lists are not proven for, and what would prove them.
            stopped = f"--search auto ends after {settings.EXACT_PREFIXES:,} prefixes for each"
            console.warn(
                f"more probable items than those listed may be missing for {self._unproven:,} of {self._total:,} "
                f"{self._unit}, since {stopped if self._is_exact else 'a beam drops prefixes'}: use --search exact"
                f"{'' if self._is_exact else ', or more --beams'}"
            )
        if self._short:
            console.warn(
                f"{self._short:,} of {self._total:,} {self._unit} have fewer than {self._options.k} items left to be "
                "recommended"
            )
