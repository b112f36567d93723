"""Studies: one recipe in many variants and with several seeds, and what can be said of the differences."""

from __future__ import annotations

from pyfastep.compress.study.plan import Study, load_study, ready_studies
from pyfastep.compress.study.runner import run_study

__all__ = ["Study", "load_study", "ready_studies", "run_study"]
