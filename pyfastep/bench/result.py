"""The figures of a benchmark and their forms: table, markdown, CSV, JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass

from pyfastep._text import markdown_table

COLUMNS = (
    "engine",
    "threads",
    "streams",
    "batch",
    "length",
    "median ms",
    "p10 ms",
    "p90 ms",
    "p99 ms",
    "samples/s",
    "speedup",
    "cosine",
    "max diff",
)


@dataclass(frozen=True)
class Measurement:
    """One engine at one batch size, length and thread count.

    Attributes:
        engine: Name of the row's engine.
        threads: Intra-op threads.
        batch: Sequences per call.
        length: Tokens per sequence.
        median_ms: Median time of a call, milliseconds.
        p10_ms: 10th percentile.
        p90_ms: 90th percentile.
        calls: Calls measured.
        load_ms: Time to open the session, milliseconds.
        speedup: Samples per second / those of the baseline; None for a failed comparison.
        cosine: Cosine similarity of all outputs to the baseline's on the same inputs.
        largest_difference: Largest absolute difference from the baseline's outputs.
        problem: Why there are no figures, or why they must not be compared.
        streams: Callers of the one session at the same time.
        p99_ms: 99th percentile of the time of a call.
        throughput: Samples per second of all streams together; None for a single one.
    """

    engine: str
    threads: int
    batch: int
    length: int
    median_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    calls: int = 0
    load_ms: float | None = None
    speedup: float | None = None
    cosine: float | None = None
    largest_difference: float | None = None
    problem: str | None = None
    streams: int = 1
    p99_ms: float | None = None
    throughput: float | None = None

    @property
    def samples_per_second(self) -> float | None:
        """Sequences per second: of several streams as measured, of one at the median."""
        if self.throughput is not None:
            return self.throughput
        return None if self.median_ms is None else self.batch / self.median_ms * 1e3

    def cells(self) -> list[str]:
        """The row's texts, in the order of `COLUMNS`."""
        return [
            self.engine,
            str(self.threads),
            str(self.streams),
            str(self.batch),
            str(self.length),
            _number(self.median_ms, "{:.2f}"),
            _number(self.p10_ms, "{:.2f}"),
            _number(self.p90_ms, "{:.2f}"),
            _number(self.p99_ms, "{:.2f}"),
            _number(self.samples_per_second, "{:.1f}"),
            _number(self.speedup, "{:.2f}x"),
            _number(self.cosine, "{:.4f}"),
            _number(self.largest_difference, "{:.3g}"),
        ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


@dataclass(frozen=True)
class BenchReport:
    """All measurements of one run, the baseline they are compared with, and the machine they come from."""

    machine: str
    baseline: str
    measurements: tuple[Measurement, ...]

    @property
    def problems(self) -> list[str]:
        """What went wrong, one line per engine and cause."""
        where: dict[tuple[str, str], list[str]] = {}
        for m in self.measurements:
            if m.problem:
                combination = f"threads {m.threads}, streams {m.streams}, batch {m.batch}, length {m.length}"
                where.setdefault((m.engine, m.problem), []).append(combination)
        return [
            f"{engine}: {problem} ({places[0]}{f' and {len(places) - 1} more' if places[1:] else ''})"
            for (engine, problem), places in where.items()
        ]

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def to_csv(self) -> str:
        """One line per measurement, full precision, with a header."""
        names = [field.name for field in dataclasses.fields(Measurement)]
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(measurement) for measurement in self.measurements)
        return text.getvalue()

    def to_markdown(self) -> str:
        """A table for a README, with the machine and the problems below it."""
        table = markdown_table(COLUMNS, [measurement.cells() for measurement in self.measurements])
        notes = "".join(f"\n\n{line}" for line in (self.note, *self.problems))
        return table + notes

    @property
    def note(self) -> str:
        """What the figures are compared with, and where they come from."""
        return f"Speedup, cosine and difference against {self.baseline}. {self.machine}."
