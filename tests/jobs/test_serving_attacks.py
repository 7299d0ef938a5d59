"""The benchmark of an attacked server tells a refusal from a flaw, and damages alike what it is given a seed for."""

import json

import numpy as np
import pytest
from serving_attackers import flaw, mutated

PROBLEM = {"content-type": "application/problem+json"}


@pytest.mark.parametrize(
    ("status", "headers", "found"),
    [
        (200, {}, ""),
        (422, PROBLEM, ""),
        (422, {"content-type": "text/html"}, "422 without a problem document"),
        (500, PROBLEM, "500"),
        (503, PROBLEM, "503 without Retry-After"),
        (503, {**PROBLEM, "retry-after": "1"}, ""),
    ],
)
def test_a_refusal_is_a_problem_document_and_no_failure_of_the_server(
    status: int, headers: dict[str, str], found: str
) -> None:
    document = json.dumps({"title": "as the status says", "status": status, "detail": "send something else"})

    assert flaw(status, headers, document.encode()) == found


def test_a_body_that_is_no_problem_document_is_a_flaw() -> None:
    assert flaw(422, PROBLEM, b"{") == "422 without a problem document"


def test_the_same_seed_damages_alike() -> None:
    first, second = (np.random.default_rng(7) for _ in range(2))

    requests = [mutated(first) for _ in range(50)]

    assert requests == [mutated(second) for _ in range(50)]
    assert len(set(requests)) > 40
