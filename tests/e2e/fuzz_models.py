"""A campaign of random batches on whole models, as long as it is given: `make fuzz-models`; no part of the suite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

from .batches import random_case
from .small_encoders import FORMS, Form, SmallEncoder
from .whole_model import OpenSession, WholeModel

MOST_TOKENS = 6000


def test_random_batches(
    small_encoder: Callable[[Form], SmallEncoder], fastep_session: OpenSession, cpu_tiers: list[str]
) -> None:
    seconds, seed = float(os.environ["FUZZ_SECONDS"]), int(os.environ["FUZZ_SEED"])
    print(f"\nseed {seed}, {seconds:g} s after the models are built")
    models = [WholeModel(small_encoder(form), fastep_session, cpu_tiers) for form in FORMS]
    rng = np.random.default_rng(seed)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        model, case = models[count % len(models)], random_case(rng, MOST_TOKENS)
        try:
            model.check(case)
        except BaseException:
            print(f"seed {seed}, batch number {count}: {model.encoder.form.name}, {case}")
            raise
        count += 1
    print(f"{count} batches, all bits equal")
