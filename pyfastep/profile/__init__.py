"""Where the time of a model goes: layer by layer and op by op, against what the machine could do.

>>> report = pyfastep.profile("fast.onnx", batch=1, length=128)
>>> [(layer.name, layer.ms) for layer in report.layers]
"""

from __future__ import annotations

from pyfastep.profile.chart import save_chart
from pyfastep.profile.result import GroupProfile, NodeProfile, ProfileReport, StepProfile, WhatIf
from pyfastep.profile.runner import profile

__all__ = ["GroupProfile", "NodeProfile", "ProfileReport", "StepProfile", "WhatIf", "profile", "save_chart"]
