"""The drop-in for sentence-transformers' CrossEncoder: its `rank` and `predict`, held against the reference's scores."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import grating
import numpy as np
import pytest
from conftest import QUERY, TEXTS, cases, pairs


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_scores_are_the_reference_s(case: Path) -> None:
    """Every family, every pair, the limits and instructions of the golden files; logits within 1e-4 of the largest."""

    def setting(pair: dict[str, Any]) -> tuple[Any, ...]:
        return pair["max_tokens"], pair["instruction"], bool(pair.get("special"))

    for (limit, instruction, special), group in itertools.groupby(pairs(case), setting):
        group = list(group)
        settings: dict[str, Any] = {"max_length": limit, "special_tokens_in_text": special}
        model = grating.CrossEncoder(case, activation_fn=Identity(), precision="full", **settings)
        inputs = [(pair["query"], pair["document"]) for pair in group]
        expected = np.array([pair["logits_after_layer"][-1] for pair in group])
        scores = model.reranker.score(inputs, instruction=instruction)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
        if instruction is None:
            np.testing.assert_allclose(model.predict(inputs), expected, rtol=1e-4, atol=1e-4)
        model.close()


class Identity:
    """As torch.nn.Identity, without torch."""

    def __call__(self, logits: Any) -> Any:
        return logits


class Sigmoid:
    """As torch.nn.Sigmoid, without torch."""


def test_one_pair_is_one_number_and_a_list_is_an_array(encoder: grating.CrossEncoder) -> None:
    one = encoder.predict((QUERY, TEXTS[1]))
    assert isinstance(one, np.float32)
    many = encoder.predict([[QUERY, text] for text in TEXTS])
    assert many.dtype == np.float32 and many.shape == (4,)
    assert many[1] == pytest.approx(one, abs=1e-5)
    assert encoder.predict([(QUERY, TEXTS[1])]).shape == (1,)
    assert encoder.predict([]).shape == (0,)
    array = np.array([[QUERY, text] for text in TEXTS])
    assert encoder.predict(array).tolist() == many.tolist()
    assert encoder.predict(sentences=[(QUERY, TEXTS[1])]).shape == (1,)


def test_the_order_of_the_pairs_and_their_company_change_nothing(encoder: grating.CrossEncoder) -> None:
    inputs = [(query, text) for query in (QUERY, "Which animal?", "Spain") for text in TEXTS]
    scores = encoder.predict(inputs)
    backwards = encoder.predict(inputs[::-1])[::-1]
    np.testing.assert_allclose(scores, backwards, atol=1e-5)
    np.testing.assert_allclose(scores, [encoder.predict(pair) for pair in inputs], atol=1e-5)


def test_the_default_activation_is_the_model_s_own(encoder: grating.CrossEncoder) -> None:
    # Cross-encoders of ms-marco say Identity: their users see logits.
    inputs = [(QUERY, text) for text in TEXTS]
    logits = encoder.predict(inputs)
    assert logits.max() > 1.0 and logits.min() < 0.0
    probabilities = encoder.predict(inputs, activation_fn=Sigmoid())
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-6)
    halves = encoder.predict(inputs, activation_fn=lambda values: values / 2)
    np.testing.assert_allclose(halves, logits / 2, rtol=1e-6)
    assert encoder.predict(inputs, apply_softmax=True).tolist() == logits.tolist()


def test_rank_sorts_and_returns_documents(encoder: grating.CrossEncoder) -> None:
    ranked = encoder.rank(QUERY, TEXTS)
    assert [entry["corpus_id"] for entry in ranked] == [1, 2, 3, 0]
    scores = encoder.predict([(QUERY, text) for text in TEXTS])
    assert [entry["score"] for entry in ranked] == sorted(scores.tolist(), reverse=True)
    assert "text" not in ranked[0]
    best = encoder.rank(QUERY, TEXTS, top_k=2, return_documents=True)
    assert best == [{**entry, "text": TEXTS[entry["corpus_id"]]} for entry in ranked[:2]]
    assert encoder.rank(QUERY, []) == [] and encoder.rank(QUERY, TEXTS, top_k=0) == []
    assert len(encoder.rank(QUERY, TEXTS, top_k=99)) == 4


def test_rank_takes_no_words_as_the_reference_does(encoder: grating.CrossEncoder) -> None:
    blank = encoder.rank("", TEXTS)
    assert [entry["score"] for entry in blank] == sorted(encoder.predict([("", text) for text in TEXTS]), reverse=True)
    assert [entry["corpus_id"] for entry in encoder.rank(QUERY, ["", ""], top_k=1)] == [0]


def test_rank_keeps_ties_in_order_and_follows_a_falling_activation(encoder: grating.CrossEncoder) -> None:
    same = encoder.rank(QUERY, [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[1]])
    assert [entry["corpus_id"] for entry in same] == [1, 3, 0, 2]
    falling = encoder.rank(QUERY, TEXTS, activation_fn=lambda logits: -logits)
    assert [entry["corpus_id"] for entry in falling] == [0, 3, 2, 1]


def test_prompts_by_name_and_in_words(encoder: grating.CrossEncoder) -> None:
    named = grating.CrossEncoder(prompts={"ask": "query: "}, default_prompt_name=None)
    plain = named.predict((QUERY, TEXTS[1]))
    asked = named.predict((QUERY, TEXTS[1]), prompt_name="ask")
    assert asked != plain
    assert asked == named.predict((QUERY, TEXTS[1]), prompt="query: ")
    assert asked == named.predict(("query: " + QUERY, TEXTS[1]))
    with pytest.raises(ValueError, match="'other' not found"):
        named.predict((QUERY, TEXTS[1]), prompt_name="other")
    named.default_prompt_name = "ask"
    assert named.predict((QUERY, TEXTS[1])) == asked
    named.close()


def test_what_cannot_be_is_refused_and_what_has_no_effect_is_said(encoder: grating.CrossEncoder) -> None:
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        encoder.predict([(QUERY, TEXTS[0])], batch_size=0)
    with pytest.raises(ValueError, match="not a pair"):
        encoder.predict([(QUERY,)])
    with pytest.raises(ValueError, match="one score a pair"):
        grating.CrossEncoder(num_labels=3)
    with pytest.warns(UserWarning, match="no effect"):
        encoder.predict([(QUERY, TEXTS[0])], device="cuda")


def test_limits_as_processor_settings() -> None:
    short = grating.CrossEncoder(processor_kwargs={"model_max_length": 16})
    assert short.max_length == short.max_seq_length == 16
    long = "the river runs " * 200
    assert short.predict((QUERY, long)) == short.predict((QUERY, long + " and more"))
    short.close()


def test_a_bar_is_drawn_where_one_is_wanted(encoder: grating.CrossEncoder, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    encoder.predict([(QUERY, text) for text in TEXTS], show_progress_bar=True)
    assert "Layers" in capsys.readouterr().err
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    encoder.predict([(QUERY, text) for text in TEXTS])
    assert capsys.readouterr().err == ""


def test_tensors_where_torch_is() -> None:
    torch = pytest.importorskip("torch")
    encoder = grating.CrossEncoder()
    inputs = [(QUERY, text) for text in TEXTS]
    plain = encoder.predict(inputs)
    tensor = encoder.predict(inputs, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor) and tensor.tolist() == plain.tolist()
    several = encoder.predict(inputs, convert_to_numpy=False)
    assert all(isinstance(score, torch.Tensor) for score in several)
    activated = encoder.predict(inputs, activation_fn=torch.nn.Sigmoid())
    np.testing.assert_allclose(activated, torch.sigmoid(tensor).numpy(), rtol=1e-6)
    encoder.close()


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_sentence_transformers_itself_agrees(case: Path) -> None:
    """Where it is installed: scores of its own folders, its default activation and its limits included."""
    reference = pytest.importorskip("sentence_transformers")
    if (case / "grating.json").exists():
        pytest.skip("its prompt is in grating.json, which sentence-transformers does not read")
    inputs = [(pair["query"], pair["document"]) for pair in pairs(case) if not pair.get("special")]
    limit = max(pair["max_tokens"] for pair in pairs(case))
    theirs = reference.CrossEncoder(
        str(case), device="cpu", max_length=limit, model_kwargs={"dtype": "float32"}
    )
    ours = grating.CrossEncoder(
        case, max_length=limit, special_tokens_in_text=True, precision="full"
    )
    np.testing.assert_allclose(ours.predict(inputs), theirs.predict(inputs, batch_size=1), rtol=1e-4, atol=1e-4)
    # One at a time: some of the tokenizers have no token to pad with.
    query, documents = inputs[0][0], [text for _, text in inputs]
    want = theirs.rank(query, documents, batch_size=1)
    have = ours.rank(query, documents)
    np.testing.assert_allclose(
        [entry["score"] for entry in have], [entry["score"] for entry in want], rtol=1e-4, atol=1e-4
    )
    ours.close()
