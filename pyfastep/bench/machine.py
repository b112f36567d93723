"""The one line that tells where figures come from."""

from __future__ import annotations

import platform

import pyfastep
from pyfastep import _ep
from pyfastep.doctor import read_cpu
from pyfastep.errors import FastEPError


def describe_machine(note: str = "threads stop spinning after each call") -> str:
    """CPU with its instruction sets, cores and versions; also which tier FastEP uses, where it is there."""
    cpu = read_cpu()
    parts = [
        f"{cpu.model} ({', '.join(cpu.instruction_sets)}), {cpu.cores} cores ({cpu.cpus} usable CPUs)",
        f"ONNX Runtime {_ep.import_onnxruntime().__version__}",
        f"FastEP {pyfastep.__version__}{_tier()}",
        f"Python {platform.python_version()}",
        note,
    ]
    return "; ".join(part for part in parts if part)


def _tier() -> str:
    try:
        _ep.register()
    except FastEPError as error:
        return f" ({error.problem})"
    return f" ({dict(_ep.get_devices()[0].ep_metadata).get('tier', 'unknown')})"
