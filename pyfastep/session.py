"""A drop-in for `onnxruntime.InferenceSession` that puts FastEP in front of the CPU provider."""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyfastep import _ep
from pyfastep._model_scan import FastepNode, context_nodes, fastep_nodes, is_plain_onnx
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    import onnxruntime

Provider = str | tuple[str, Mapping[str, Any]]

# The execution provider's options; docs/ep-options.md describes them.
_DEFAULTS = {"max_tier": "amx", "threads": "0", "strict": "0", "skip_padding": "auto", "profile": ""}
OPTIONS = tuple(_DEFAULTS)
_CPU = "CPUExecutionProvider"
_RUNTIME_KEYWORDS = ("disabled_optimizers", "enable_fallback", "read_config_from_model")
_LISTED_SINCE = (1, 25)  # plugin providers are found by name in `providers`
_RECORDED_SINCE = (1, 24)  # get_provider_graph_assignment_info
_RECORD_KEY = "session.record_ep_graph_assignment_info"
NOTHING_TO_RUN = f"FastEP runs nothing of this model, it has no fastep nodes: {_ep.TO_FASTEP}"
_REFUSED = "set the option strict to 0"  # what the error of a strict session says

# Session options that FastEP was added to: adding it twice is an error in ONNX Runtime.
_prepared: weakref.WeakSet[Any] = weakref.WeakSet()


def InferenceSession(  # noqa: N802 - stands in for the class of this name
    path_or_bytes: str | bytes | os.PathLike[str],
    sess_options: onnxruntime.SessionOptions | None = None,
    providers: Sequence[Provider] | None = None,
    provider_options: Sequence[Mapping[str, Any]] | None = None,
    *,
    strict: bool = False,
    threads: int | None = None,
    max_tier: str | None = None,
    **kwargs: Any,
) -> onnxruntime.InferenceSession:
    """Open a session that runs the model's `fastep` nodes on FastEP and everything else on ONNX Runtime.

    Args:
        path_or_bytes: As in `onnxruntime.InferenceSession`: a file name or a serialized model.
        sess_options: As there; respected as they are. They gain FastEP itself, once, on ONNX Runtime 1.23 and 1.24 or
            if they select providers already, and where FastEP leaves nodes an entry that has their placement recorded.
            `threads` is set in them while the session is opened, if they leave it to ONNX Runtime.
        providers: As there; FastEP comes first unless the list names it elsewhere.
        provider_options: As there.
        strict: Make it an error if FastEP does not run a `fastep` node. Otherwise a warning says how many it leaves.
            A model without any, neither converted nor compiled, is a warning in both cases.
        threads: Threads that run one call, `SessionOptions.intra_op_num_threads`; default: ONNX Runtime's.
        max_tier: The highest instruction tier to use: scalar, avx2, avxvnni or avx512vnni. `amx` is reserved: no limit.
        **kwargs: `disabled_optimizers` and `read_config_from_model`, as there. `enable_fallback` is accepted and
            ignored: a session that cannot use FastEP is an error, never silently another session.

    Returns:
        An ordinary `onnxruntime.InferenceSession`.

    Raises:
        FastEPError: No suitable ONNX Runtime; an option that is unknown or has a bad value; `threads` below 1, or other
            than `sess_options` say; `provider_options` of another length than `providers`; other providers where ONNX
            Runtime takes FastEP through `sess_options` alone; or with `strict` a node that FastEP leaves.
        Exception: What ONNX Runtime raises for a model that it cannot load.
    """
    runtime = _ep.import_onnxruntime()
    unknown = sorted(set(kwargs) - set(_RUNTIME_KEYWORDS))
    if unknown:
        raise FastEPError(
            f"InferenceSession has no option {unknown[0]!r}",
            remedy=f"known are strict, threads, max_tier, {', '.join(_RUNTIME_KEYWORDS)}",
        )
    if threads is not None and threads < 1:
        raise FastEPError(f"threads must be at least 1, found {threads}")
    listed, options = _provider_list(providers, provider_options)
    session_options = sess_options if sess_options is not None else _default_options(runtime)
    _ep.register()
    kwargs["enable_fallback"] = 0
    nodes = fastep_nodes(path_or_bytes)
    if not nodes and is_plain_onnx(path_or_bytes) and not context_nodes(path_or_bytes, _ep.EP_NAME):
        warnings.warn(NOTHING_TO_RUN, stacklevel=2)
    with _threads_set(session_options, threads):
        _add_keywords(options, session_options, strict, max_tier)
        opener = _Opener(runtime, path_or_bytes, session_options, listed, options, kwargs)
        return opener.open_strictly() if options["strict"] == "1" else opener.open_and_count(nodes)


def _provider_list(
    providers: Sequence[Provider] | None, provider_options: Sequence[Mapping[str, Any]] | None
) -> tuple[list[tuple[str, dict[str, str]]], dict[str, str]]:
    """The providers with their options, FastEP among them, and FastEP's own options (the same object)."""
    if provider_options is not None and len(provider_options) != len(providers or ()):
        raise FastEPError(
            f"expected one entry of provider_options per provider ({len(providers or ())}), "
            f"found {len(provider_options)}"
        )
    listed: list[tuple[str, dict[str, str]]] = []
    for index, provider in enumerate(providers or (_CPU,)):
        name, options = (provider, {}) if isinstance(provider, str) else provider
        further = provider_options[index] if provider_options is not None else {}
        listed.append((name, {key: _text(value) for key, value in {**options, **further}.items()}))
    if _ep.EP_NAME not in [name for name, _ in listed]:
        listed.insert(0, (_ep.EP_NAME, {}))
    own = next(options for name, options in listed if name == _ep.EP_NAME)
    for key in own:
        if key not in OPTIONS:
            raise FastEPError(f"{_ep.EP_NAME} has no option {key!r}", remedy=f"known are {', '.join(OPTIONS)}")
    return listed, own


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _default_options(runtime: Any) -> Any:
    options = runtime.SessionOptions()
    if not os.environ.get("FASTEP_LOG"):
        # With any plugin provider ONNX Runtime warns that shape nodes stay on the CPU provider, where they belong.
        options.log_severity_level = 3
    # It shares scalars; after it ONNX Runtime infers shapes anew, for which it copies the largest constants twice.
    options.add_session_config_entry("optimization.disable_specified_optimizers", "ConstantSharing")
    return options


@contextlib.contextmanager
def _threads_set(session_options: Any, threads: int | None) -> Iterator[None]:
    """Session options with `threads` where they say none, which is 0; afterwards as they were."""
    own = int(session_options.intra_op_num_threads)
    if threads is not None and own not in (0, threads):
        raise FastEPError(
            f"threads={threads} contradicts sess_options.intra_op_num_threads={own}",
            remedy="set it in sess_options alone",
        )
    session_options.intra_op_num_threads = own if threads is None else threads
    try:
        yield
    finally:
        session_options.intra_op_num_threads = own


def _add_keywords(options: dict[str, str], session_options: Any, strict: bool, max_tier: str | None) -> None:
    if session_options.intra_op_num_threads > 0:
        options.setdefault("threads", str(session_options.intra_op_num_threads))
    if max_tier is not None:
        options["max_tier"] = max_tier
    if strict:
        options["strict"] = "1"
    options.setdefault("strict", "0")


class _Opener:
    """Opens one session, in the way that the version of ONNX Runtime asks for."""

    def __init__(
        self,
        runtime: Any,
        model: str | bytes | os.PathLike[str],
        session_options: Any,
        providers: list[tuple[str, dict[str, str]]],
        options: dict[str, str],
        kwargs: dict[str, Any],
    ) -> None:
        self._runtime, self._version = runtime, _ep.runtime_version(runtime)
        self._model, self._session_options = model, session_options
        self._providers, self._options, self._kwargs = providers, options, kwargs

    def open_strictly(self) -> Any:
        try:
            return self._open("1")
        except Exception as error:
            if _REFUSED in str(error):
                raise FastEPError(_message(error)) from error
            raise

    def open_and_count(self, nodes: list[FastepNode]) -> Any:
        """Open a session and warn if FastEP does not run all `nodes`."""
        if not nodes:
            return self._open("0")
        # A strict session leaves no node. Where there is none, ONNX Runtime records who runs what, and is not asked
        # to before: what that touches of its code is 0.8 MB of memory.
        try:
            return self._open("1")
        except Exception as error:
            if _REFUSED not in str(error):
                raise
            reason = _message(error).partition(f" (or {_REFUSED}")[0]
        count = "some"
        if self._version >= _RECORDED_SINCE:
            self._set_entry(_RECORD_KEY, "1")
        session = self._open("0")
        if self._version >= _RECORDED_SINCE:
            count = str(_left(session, nodes))
        warnings.warn(
            f"FastEP leaves {count} of {len(nodes)} fastep nodes to ONNX Runtime, which is slower: {reason}; "
            "see `fastep doctor` with this model",
            stacklevel=3,
        )
        return session

    def _open(self, strict: str) -> Any:
        self._options["strict"] = strict
        providers = None
        by_name = self._version >= _LISTED_SINCE and self._session_options not in _prepared
        if by_name and not self._session_options.has_providers():
            providers = self._providers
        else:
            self._add_to_session_options()
        try:
            return self._runtime.InferenceSession(self._model, self._session_options, providers, **self._kwargs)
        except Exception as error:  # ONNX Runtime's errors share no base
            if f"{_ep.EP_NAME}: " in str(error):  # an option with a bad value
                raise FastEPError(_message(error)) from error
            raise

    def _add_to_session_options(self) -> None:
        others = [name for name, _ in self._providers if name not in (_ep.EP_NAME, _CPU)]
        if others:
            raise FastEPError(
                f"{others[0]} cannot be combined with FastEP here: ONNX Runtime {self._runtime.__version__} takes "
                "FastEP only through SessionOptions, and then no other provider by name",
                remedy="use onnxruntime 1.25 or later, with session options that select no provider themselves",
            )
        if self._session_options in _prepared:
            for key in OPTIONS:  # a later session may differ from an earlier one
                entry = f"ep.{_ep.EP_NAME.lower()}.{key}"
                if key in self._options or self._entry(entry) is not None:
                    self._set_entry(entry, self._options.get(key, _DEFAULTS[key]))
            return
        self._session_options.add_provider_for_devices(_ep.get_devices(), self._options)
        _prepared.add(self._session_options)

    def _entry(self, key: str) -> str | None:
        try:
            return str(self._session_options.get_session_config_entry(key))
        except RuntimeError:  # it is not set
            return None

    def _set_entry(self, key: str, value: str) -> None:
        if self._entry(key) != value:  # ONNX Runtime warns about every entry that is set again
            self._session_options.add_session_config_entry(key, value)


def _left(session: Any, nodes: list[FastepNode]) -> int:
    """How many of the model's `fastep` nodes FastEP does not run."""
    parts = session.get_provider_graph_assignment_info()
    taken = sum(len(part.get_nodes()) for part in parts if part.ep_name == _ep.EP_NAME)
    return max(0, len(nodes) - taken)


def _message(error: BaseException) -> str:
    """An error of the library without ONNX Runtime's prefix."""
    return str(error).rpartition(" : ")[2]
