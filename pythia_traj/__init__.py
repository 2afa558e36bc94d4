"""pythia-traj: measure how language models change during training.

    import pythia_traj as pt

    for ckpt in pt.checkpoints("runs/toy", steps="log:12"):   # one HookedTransformer each time,
        logits, cache = ckpt.model.run_with_cache(tokens)     # with new weights
    pt.sweep(
        pt.SweepConfig.from_yaml("configs/induction.yaml", model="runs/toy", out="runs/induction")
    )
    pt.describe("runs/induction")                             # the words that filters can use
    df = pt.load("runs/induction", experiment="induction")    # the measurements, as a DataFrame

Importing the package is cheap: modules that need torch or pandas are imported at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pythia_traj import figures as figures
    from pythia_traj.analysis.comparison.align import align as align
    from pythia_traj.analysis.comparison.correlation import correlate as correlate
    from pythia_traj.analysis.comparison.distributions import head_distances as head_distances
    from pythia_traj.analysis.comparison.distributions import summarise_heads as summarise_heads
    from pythia_traj.analysis.comparison.matching import match_heads as match_heads
    from pythia_traj.analysis.comparison.pairs import compare as compare
    from pythia_traj.analysis.comparison.pairs import largest_difference as largest_difference
    from pythia_traj.analysis.comparison.seeds import seed_bands as seed_bands
    from pythia_traj.analysis.learning_curves import learning_curves as learning_curves
    from pythia_traj.analysis.learning_curves import stability as stability
    from pythia_traj.analysis.onsets.change_points import change_points as change_points
    from pythia_traj.analysis.onsets.frames import onset as onset
    from pythia_traj.analysis.onsets.order import order as order
    from pythia_traj.analysis.onsets.selected import select_heads as select_heads
    from pythia_traj.analysis.roles import role_timeline as role_timeline
    from pythia_traj.analysis.roles import tracked_heads as tracked_heads
    from pythia_traj.analysis.smoothing import smooth as smooth
    from pythia_traj.config import SweepConfig as SweepConfig
    from pythia_traj.dashboards.serving import dashboard as dashboard
    from pythia_traj.reports.found import findings as findings
    from pythia_traj.reports.outputs import report as report
    from pythia_traj.reports.plot import plot as plot
    from pythia_traj.sharing.one_file import export as export
    from pythia_traj.sharing.publish import publish as publish
    from pythia_traj.store.convert import convert as convert
    from pythia_traj.store.describe import describe as describe
    from pythia_traj.store.read import load as load
    from pythia_traj.store.read import published_models as published_models
    from pythia_traj.stream.checkpoints import checkpoints as checkpoints
    from pythia_traj.sweeps.following import follow as follow
    from pythia_traj.sweeps.refining import refine as refine
    from pythia_traj.sweeps.requests import plan as plan
    from pythia_traj.sweeps.status import status as status
    from pythia_traj.sweeps.upkeep import compact as compact
    from pythia_traj.sweeps.upkeep import merge as merge
    from pythia_traj.sweeps.upkeep import remove as remove
    from pythia_traj.sweeps.worker import sweep as sweep

__version__ = "0.2.0"

_LAZY = {
    "SweepConfig": "pythia_traj.config",
    "align": "pythia_traj.analysis.comparison.align",
    "change_points": "pythia_traj.analysis.onsets.change_points",
    "checkpoints": "pythia_traj.stream.checkpoints",
    "compact": "pythia_traj.sweeps.upkeep",
    "compare": "pythia_traj.analysis.comparison.pairs",
    "convert": "pythia_traj.store.convert",
    "correlate": "pythia_traj.analysis.comparison.correlation",
    "dashboard": "pythia_traj.dashboards.serving",
    "describe": "pythia_traj.store.describe",
    "export": "pythia_traj.sharing.one_file",
    "figures": "pythia_traj.figures",
    "findings": "pythia_traj.reports.found",
    "follow": "pythia_traj.sweeps.following",
    "head_distances": "pythia_traj.analysis.comparison.distributions",
    "largest_difference": "pythia_traj.analysis.comparison.pairs",
    "learning_curves": "pythia_traj.analysis.learning_curves",
    "load": "pythia_traj.store.read",
    "match_heads": "pythia_traj.analysis.comparison.matching",
    "merge": "pythia_traj.sweeps.upkeep",
    "onset": "pythia_traj.analysis.onsets.frames",
    "order": "pythia_traj.analysis.onsets.order",
    "plan": "pythia_traj.sweeps.requests",
    "plot": "pythia_traj.reports.plot",
    "publish": "pythia_traj.sharing.publish",
    "published_models": "pythia_traj.store.read",
    "refine": "pythia_traj.sweeps.refining",
    "remove": "pythia_traj.sweeps.upkeep",
    "report": "pythia_traj.reports.outputs",
    "role_timeline": "pythia_traj.analysis.roles",
    "seed_bands": "pythia_traj.analysis.comparison.seeds",
    "select_heads": "pythia_traj.analysis.onsets.selected",
    "smooth": "pythia_traj.analysis.smoothing",
    "stability": "pythia_traj.analysis.learning_curves",
    "status": "pythia_traj.sweeps.status",
    "summarise_heads": "pythia_traj.analysis.comparison.distributions",
    "sweep": "pythia_traj.sweeps.worker",
    "tracked_heads": "pythia_traj.analysis.roles",
}

__all__ = [
    "SweepConfig",
    "__version__",
    "align",
    "change_points",
    "checkpoints",
    "compact",
    "compare",
    "convert",
    "correlate",
    "dashboard",
    "describe",
    "export",
    "figures",
    "findings",
    "follow",
    "head_distances",
    "largest_difference",
    "learning_curves",
    "load",
    "match_heads",
    "merge",
    "onset",
    "order",
    "plan",
    "plot",
    "publish",
    "published_models",
    "refine",
    "remove",
    "report",
    "role_timeline",
    "seed_bands",
    "select_heads",
    "smooth",
    "stability",
    "status",
    "summarise_heads",
    "sweep",
    "tracked_heads",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'pythia_traj' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
