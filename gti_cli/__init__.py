"""Grounded Token Initialization: give a language model new tokens that carry meaning from the first training step.

The names in `__all__` are the whole public interface. They are imported when first used, so that ``import gti_cli``
takes milliseconds and loads none of torch, transformers, numpy and pyarrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gti_cli.blending.blend import blend
    from gti_cli.decoding.constraints.logits_processor import SemanticIdLogitsProcessor
    from gti_cli.diagnostics.diagnose import diagnose
    from gti_cli.errors import InputError
    from gti_cli.evaluation.evaluate import evaluate
    from gti_cli.evaluation.plot import plot_accuracy
    from gti_cli.grounding.ground import ground
    from gti_cli.grounding.plot import plot_curves
    from gti_cli.importing.import_data import import_data
    from gti_cli.pages.report import report
    from gti_cli.recommendation.finetune import finetune
    from gti_cli.recommendation.plot import plot_training
    from gti_cli.recommendation.recommend import recommend
    from gti_cli.recommender.recommender import Recommender
    from gti_cli.semantic_ids.build import build_ids
    from gti_cli.semantic_ids.quality.plot import plot_quality
    from gti_cli.vocabulary.extend import extend
    from gti_cli.workspace import Workspace

__version__ = "0.1.0"
__all__ = [
    "InputError",
    "Recommender",
    "SemanticIdLogitsProcessor",
    "Workspace",
    "__version__",
    "blend",
    "build_ids",
    "diagnose",
    "evaluate",
    "extend",
    "finetune",
    "ground",
    "import_data",
    "plot_accuracy",
    "plot_curves",
    "plot_quality",
    "plot_training",
    "recommend",
    "report",
]

_MODULE_OF = {
    "InputError": "gti_cli.errors",
    "Recommender": "gti_cli.recommender.recommender",
    "SemanticIdLogitsProcessor": "gti_cli.decoding.constraints.logits_processor",
    "Workspace": "gti_cli.workspace",
    "blend": "gti_cli.blending.blend",
    "build_ids": "gti_cli.semantic_ids.build",
    "diagnose": "gti_cli.diagnostics.diagnose",
    "evaluate": "gti_cli.evaluation.evaluate",
    "extend": "gti_cli.vocabulary.extend",
    "finetune": "gti_cli.recommendation.finetune",
    "ground": "gti_cli.grounding.ground",
    "import_data": "gti_cli.importing.import_data",
    "plot_accuracy": "gti_cli.evaluation.plot",
    "plot_curves": "gti_cli.grounding.plot",
    "plot_quality": "gti_cli.semantic_ids.quality.plot",
    "plot_training": "gti_cli.recommendation.plot",
    "recommend": "gti_cli.recommendation.recommend",
    "report": "gti_cli.pages.report",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # the next access finds it without this function
    return value


def __dir__() -> list[str]:
    """List the public names, also those not imported yet."""
    return sorted({*globals(), *__all__})
