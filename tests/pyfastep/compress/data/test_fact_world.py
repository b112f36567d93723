"""The made-up world: a clean division, and relations that have their rivals."""

from __future__ import annotations

import random

from pyfastep.compress.data.fact_world import RELATIONS, is_held_out, person_name


def test_names_are_divided_by_word() -> None:
    rng = random.Random(0)
    for held_out in (False, True):
        for _ in range(200):
            assert {is_held_out(word) for word in person_name(rng, held_out).split()} == {held_out}


def test_values_are_divided() -> None:
    for relation in RELATIONS.values():
        drawn = [{relation.value(random.Random(i), flag) for i in range(300)} for flag in (False, True)]
        assert min(map(len, drawn)) > 5
        assert not drawn[0] & drawn[1], relation.name


def test_every_relation_has_a_rival_of_its_type() -> None:
    for relation in RELATIONS.values():
        rival = RELATIONS[relation.rival]
        assert rival.rival == relation.name
        assert rival.value is relation.value
