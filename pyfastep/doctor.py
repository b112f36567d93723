"""What `fastep doctor` reports: the machine, the library, ONNX Runtime, what is wrong, and how a model would run."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyfastep
from pyfastep import _ep
from pyfastep._model_paths import check_model
from pyfastep._model_scan import FastepNode, fastep_nodes, metadata
from pyfastep._text import last_line
from pyfastep.compiled import CompiledPlan, read_plans
from pyfastep.errors import FastEPError

_PADDING_KEY = "fastep.padding"  # written by pyfastep.passes.prove_padding, which needs the package onnx
_CPU_FLAGS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_int8")
_LOG_LEVELS = ("error", "warning", "info", "debug")

# Opens the model in a process of its own: the library reports node by node on standard error, and a crash stays there.
_OPEN_MODEL = """
import json, sys
sys.path = json.loads(sys.argv[1])
import pyfastep
pyfastep.InferenceSession(sys.argv[2])
"""
_NODE_LINE = re.compile(r"\[fastep\] (debug|warning): (?:left to ONNX Runtime: )?node '(.*?)' \((.*?)\): (.*)")


@dataclass(frozen=True)
class Problem:
    """Something that keeps FastEP from running, or from running fast, and what to do about it."""

    problem: str
    remedy: str
    fatal: bool = True


@dataclass(frozen=True)
class Cpu:
    """The processor: its name, physical cores, logical CPUs of this process, and the instruction sets that matter."""

    model: str
    cores: int
    cpus: int
    instruction_sets: tuple[str, ...]


@dataclass(frozen=True)
class Library:
    """The compiled library, as it describes itself to ONNX Runtime."""

    path: str
    version: str
    tier: str
    tiers_built: tuple[str, ...]
    tiers_supported: tuple[str, ...]
    ops: tuple[str, ...]
    headers: str


@dataclass(frozen=True)
class Runtime:
    """ONNX Runtime: the distributions installed that bring it, and the version imported."""

    version: str
    distributions: tuple[str, ...]


@dataclass(frozen=True)
class NodeDiagnosis:
    """One `fastep` node: which kernel runs it, or why ONNX Runtime does."""

    name: str
    op: str
    taken: bool
    detail: str


@dataclass(frozen=True)
class ModelDiagnosis:
    """How a model would run.

    Attributes:
        path: Of the model.
        nodes: Its `fastep` nodes, those of compiled subgraphs included.
        padding: What it says about right padding, `None` if nothing.
        plans: Its compiled subgraphs.
    """

    path: str
    nodes: tuple[NodeDiagnosis, ...]
    padding: str | None = None
    plans: tuple[CompiledPlan, ...] = ()

    @property
    def taken(self) -> int:
        """How many nodes FastEP runs."""
        return sum(node.taken for node in self.nodes)


@dataclass
class Diagnosis:
    """The whole report; what could not be found out is `None`, and `problems` says why."""

    fastep_version: str
    python: str
    cpu: Cpu
    environment: dict[str, str]
    library: Library | None = None
    runtime: Runtime | None = None
    model: ModelDiagnosis | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether FastEP can run at all."""
        return not any(problem.fatal for problem in self.problems)


def diagnose(model: str | os.PathLike[str] | None = None) -> Diagnosis:
    """Look at this machine and installation and, with `model`, at how that model would run.

    Problems are collected, not raised.

    Raises:
        FastEPError: `model` does not exist, is no ONNX model, or ONNX Runtime cannot open it.
    """
    if model is not None:
        check_model(model)
    environment = {name: os.environ[name] for name in ("FASTEP_MAX_TIER", "FASTEP_LOG") if os.environ.get(name)}
    diagnosis = Diagnosis(pyfastep.__version__, platform.python_version(), read_cpu(), environment)
    _look_at_environment(diagnosis)
    _look_at_runtime(diagnosis)
    if diagnosis.works:
        _look_at_library(diagnosis)
    if model is not None and diagnosis.works:
        diagnosis.model = _look_at_model(Path(model), diagnosis.problems)
    return diagnosis


def read_cpu() -> Cpu:
    """The processor, from /proc/cpuinfo; elsewhere what Python knows."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    blocks = [
        dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", block, re.MULTILINE)) for block in text.split("\n\n") if block.strip()
    ]
    first: Mapping[str, str] = blocks[0] if blocks else {}
    flags = set(first.get("flags", "").split())
    cores = {(block.get("physical id"), block.get("core id", str(i))) for i, block in enumerate(blocks)}
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = first.get("model name", platform.processor() or platform.machine())
    return Cpu(name, len(cores) or 1, usable, tuple(flag for flag in _CPU_FLAGS if flag in flags))


def _look_at_environment(diagnosis: Diagnosis) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        diagnosis.problems.append(
            Problem(f"FastEP runs on Linux x86-64, this is {sys.platform} {platform.machine()}", "use such a machine")
        )
    level = diagnosis.environment.get("FASTEP_LOG")
    if level is not None and level not in _LOG_LEVELS:
        diagnosis.problems.append(
            Problem(f"FASTEP_LOG={level} is no level", f"set one of {', '.join(_LOG_LEVELS)}, or unset it")
        )


def _fatal(error: FastEPError) -> Problem:
    return Problem(error.problem, "see above" if error.remedy in (None, "", _ep.ASK_DOCTOR) else error.remedy)


def _look_at_runtime(diagnosis: Diagnosis) -> None:
    installed = _ep.runtime_distributions()
    if len(installed) > 1:
        diagnosis.problems.append(
            Problem(
                f"{len(installed)} packages bring onnxruntime and overwrite each other: {', '.join(installed)}",
                "uninstall all of them, then install one",
                fatal=False,
            )
        )
    try:
        version = str(_ep.import_onnxruntime().__version__)
    except FastEPError as error:
        diagnosis.problems.append(_fatal(error))
        return
    diagnosis.runtime = Runtime(version, installed)


def _look_at_library(diagnosis: Diagnosis) -> None:
    try:
        path = _ep.get_library_path()
        _ep.register()
        devices = _ep.get_devices()
    except FastEPError as error:
        diagnosis.problems.append(_fatal(error))
        return
    metadata = dict(devices[0].ep_metadata)

    def names(key: str) -> tuple[str, ...]:
        return tuple(filter(None, metadata.get(key, "").split(",")))

    library = Library(
        path=metadata.get("library_path", path),
        version=metadata.get("version", "unknown"),
        tier=metadata.get("tier", "unknown"),
        tiers_built=names("tiers_built"),
        tiers_supported=names("tiers_supported"),
        ops=names("ops"),
        headers=metadata.get("ort_headers", "unknown"),
    )
    diagnosis.library = library
    _look_at_tiers(library, diagnosis)


def _look_at_tiers(library: Library, diagnosis: Diagnosis) -> None:
    cap = diagnosis.environment.get("FASTEP_MAX_TIER")
    best = next((tier for tier in reversed(library.tiers_supported) if tier in library.tiers_built), library.tier)
    if cap and best != library.tier:
        diagnosis.problems.append(
            Problem(
                f"FASTEP_MAX_TIER={cap} makes FastEP use {library.tier} although {best} is there",
                "unset FASTEP_MAX_TIER for full speed",
                fatal=False,
            )
        )
    if library.tier == "scalar" and not cap:
        diagnosis.problems.append(
            Problem("this CPU has neither AVX2 with FMA nor anything later: plain C++ is used", "none", fatal=False)
        )
    if diagnosis.fastep_version not in (library.version, pyfastep.UNINSTALLED):
        diagnosis.problems.append(
            Problem(
                f"the library is of version {library.version}, the Python package of {diagnosis.fastep_version}",
                "install the package again",
                fatal=False,
            )
        )


def _look_at_model(path: Path, problems: list[Problem]) -> ModelDiagnosis:
    nodes = fastep_nodes(path)
    environment = {**os.environ, "FASTEP_LOG": "debug"}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_MODEL, json.dumps(sys.path), str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise FastEPError(f"the model cannot be opened: {last_line(done)}", node=str(path))
    plans = tuple(read_plans(path))
    if plans:  # their nodes are known from the log alone
        nodes += [FastepNode(match[2], match[3].partition("::")[2]) for match in _node_lines(done.stderr)]
    diagnosis = ModelDiagnosis(str(path), _read_log(done.stderr, nodes), metadata(path, _PADDING_KEY), plans)
    if not nodes:
        problems.append(Problem("the model has no fastep nodes: FastEP has nothing to do", _ep.TO_FASTEP, False))
    elif diagnosis.taken < len(nodes):
        problems.append(
            Problem(
                f"{len(nodes) - diagnosis.taken} of {len(nodes)} fastep nodes are left to ONNX Runtime",
                "the reasons stand at the nodes",
                fatal=False,
            )
        )
    return diagnosis


def _node_lines(log: str) -> list[re.Match[str]]:
    return [match for match in map(_NODE_LINE.match, log.splitlines()) if match]


def _read_log(log: str, nodes: list[FastepNode]) -> tuple[NodeDiagnosis, ...]:
    """What the library said about each of the nodes; the last line on a node counts."""
    said = {match[2]: match for match in _node_lines(log)}
    found = []
    for node in nodes:
        match = said.get(node.name)
        taken = match is not None and match[1] == "debug"
        found.append(NodeDiagnosis(node.name, node.op_type, taken, match[4] if match else "not offered to FastEP"))
    return tuple(found)
