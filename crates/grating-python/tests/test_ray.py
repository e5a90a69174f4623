"""Ray Data: the way past one machine, here with two actors on one."""

from __future__ import annotations

import os
from typing import Any

import grating
import pytest
from conftest import QUERY, TEXTS

# By hand with 20000.
PAIRS = int(os.environ.get("GRATING_TEST_RAY_PAIRS", "400"))


@pytest.fixture(scope="module")
def ray() -> Any:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


def test_batches_without_ray(reranker: grating.Reranker) -> None:
    np = pytest.importorskip("numpy")
    from grating.ray import RerankBatch

    scored = RerankBatch()({"query": np.array([QUERY] * 4), "text": np.array(TEXTS)})
    assert scored["score"].tolist() == pytest.approx(
        [score.score for score in reranker.rerank(QUERY, TEXTS).all_scores()], abs=1e-6
    )
    pools = np.empty(2, dtype=object)
    pools[:] = [TEXTS, TEXTS[:1]]
    kept = RerankBatch(k=2)({"query": np.array([QUERY, QUERY]), "text": pools})
    assert [list(row) for row in kept["index"]] == [[1, 2], [0]]
    assert list(kept["text"][0]) == [TEXTS[1], TEXTS[2]]


def test_two_actors_score_as_one_process_and_a_lost_one_loses_nothing(ray: Any, tmp_path: Any) -> None:
    from grating.ray import RerankBatch

    queries = [f"{QUERY} {i % 50}" for i in range(PAIRS)]
    texts = [f"{TEXTS[i % 4]} {i}" for i in range(PAIRS)]
    marker = str(tmp_path / "killed")

    class Mortal(RerankBatch):
        """One actor dies in the middle, once."""

        def __call__(self, batch: Any) -> Any:
            if batch["id"][0].as_py() >= PAIRS // 2:
                try:
                    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    os._exit(1)
            return super().__call__(batch)

    rows = [{"id": i, "query": q, "text": t} for i, (q, t) in enumerate(zip(queries, texts))]
    dataset = ray.data.from_items(rows, override_num_blocks=8)
    scored = dataset.map_batches(
        Mortal,
        fn_constructor_kwargs={"settings": {"threads": 1}},
        compute=ray.data.ActorPoolStrategy(size=2),
        batch_format="pyarrow",
        batch_size=max(20, PAIRS // 40),
        num_cpus=1,
    )
    found = {row["id"]: row["score"] for row in scored.take_all()}
    assert os.path.exists(marker) and len(found) == PAIRS
    with grating.Reranker() as alone:
        logits = alone.score(list(zip(queries, texts)))
    import math

    for i, logit in enumerate(logits):
        assert found[i] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)
