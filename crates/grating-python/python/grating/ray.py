"""Ray Data: reranking of data sets larger than one machine. Needs ``ray[data]``.

>>> from grating.ray import RerankBatch
>>> scored = dataset.map_batches(
...     RerankBatch,
...     fn_constructor_kwargs={"model": None, "settings": {"threads": 2}},
...     compute=ray.data.ActorPoolStrategy(min_size=1, max_size=4),
...     batch_format="pyarrow",
...     num_cpus=2,
... )
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._reranker import Reranker

if TYPE_CHECKING:
    import pyarrow

__all__ = ["RerankBatch"]


class RerankBatch:
    """Scores the rows of a batch: pairs of a query and a text, or a query with a list of texts.

    Made once in each actor, where it opens the model. Of rows with lists and a ``k``, the ``k`` best are kept.

    Args:
        model: Folder or hub id that every node can read; nothing for the built-in model.
        k: How many texts of a row to keep, best first; all by default. Only for rows with lists.
        query: Column of the query.
        text: Column of the text, or of the list of texts.
        settings: Further settings of :class:`grating.Reranker`. ``threads`` should be the ``num_cpus`` of the actor.
    """

    def __init__(
        self,
        model: str | None = None,
        k: int | None = None,
        query: str = "query",
        text: str = "text",
        settings: dict[str, Any] | None = None,
    ) -> None:
        self._k, self._query, self._text = k, query, text
        self._reranker = Reranker(model, **(settings or {}))

    def __call__(self, batch: pyarrow.Table | dict[str, Any] | Any) -> Any:
        """The batch with a column ``score`` of probabilities, and with lists also ``index``, the places of the texts
        that were kept. Arrow tables, pandas frames and dicts of NumPy arrays come back as they came.
        """
        queries, texts = _column(batch, self._query), _column(batch, self._text)
        if texts and not isinstance(texts[0], str):
            return self._lists(batch, queries, texts)
        logits = self._reranker.score(list(zip(queries, texts)))
        return _with(batch, {"score": [_probability(logit) for logit in logits]})

    def _lists(self, batch: Any, queries: list[str], pools: list[Any]) -> Any:
        pools = [[str(text) for text in pool] for pool in pools]
        most = max((len(pool) for pool in pools), default=0)
        k = max(1, self._k or most)
        full = [i for i, pool in enumerate(pools) if pool]
        selections = self._reranker.rerank_many(
            [queries[i] for i in full], [pools[i] for i in full], k, mode="rank"
        )
        found = dict(zip(full, selections))
        rows = [list(found[i]) if i in found else [] for i in range(len(pools))]
        return _with(
            batch,
            {
                "index": [[ranked.index for ranked in row] for row in rows],
                self._text: [[ranked.text for ranked in row] for row in rows],
                "score": [[ranked.score for ranked in row] for row in rows],
            },
        )


def _probability(logit: float) -> float:
    import math

    return 1.0 / (1.0 + math.exp(-logit)) if logit > -700 else 0.0


def _column(batch: Any, name: str) -> list[Any]:
    column = batch[name]
    values: list[Any] = column.to_pylist() if hasattr(column, "to_pylist") else column.tolist()
    return values


def _with(batch: Any, columns: dict[str, list[Any]]) -> Any:
    if hasattr(batch, "set_column"):
        import pyarrow

        for name, values in columns.items():
            made = pyarrow.array(values)
            at = batch.schema.get_field_index(name)
            batch = batch.append_column(name, made) if at < 0 else batch.set_column(at, name, made)
        return batch
    if isinstance(batch, dict):
        import numpy as np

        made = {}
        for name, values in columns.items():
            array = np.empty(len(values), dtype=object) if values and isinstance(values[0], list) else None
            if array is None:
                array = np.asarray(values)
            else:
                array[:] = values
            made[name] = array
        return {**batch, **made}
    return batch.assign(**columns)
