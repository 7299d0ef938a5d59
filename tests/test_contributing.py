"""The worked example of CONTRIBUTING, followed."""

import re
from pathlib import Path

import pytest
from tests.metrics.test_contract import test_every_metric_says_what_it_is as says_what_it_is
from tests.metrics.test_contract import test_worse_reconstructions_score_worse as scores_worse_if_worse

from rayology.metrics import METRICS, PairMetric

CONTRIBUTING = Path(__file__).parents[1] / ".github" / "CONTRIBUTING.md"


def test_the_metric_of_the_example_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    module: dict[str, object] = {}
    exec(re.sub("^   ", "", code, flags=re.MULTILINE), module)  # noqa: S102 - our own page
    edges = module["EDGES"]
    assert isinstance(edges, PairMetric)
    monkeypatch.setattr("rayology.metrics.METRICS", {**METRICS, "edges": edges})
    monkeypatch.setattr("tests.metrics.test_contract.METRICS", {**METRICS, "edges": edges})

    says_what_it_is(edges)
    for shape in ((1, 16, 16), (2, 16, 17, 24)):
        scores_worse_if_worse(edges, shape)
