"""The reranker: answers, settings, errors."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import grating
import pytest
from conftest import GOLDENS, QUERY, TEXTS, cases
from grating import errors


def test_the_best_come_first(reranker: grating.Reranker) -> None:
    selection = reranker.rerank(QUERY, TEXTS, k=2)
    assert [ranked.index for ranked in selection] == [1, 2]
    assert len(selection) == 2 and selection[0].text == TEXTS[1]
    assert selection[0].score > selection[1].score
    assert [r.index for r in selection[:1]] == [1] and selection.results[1] == selection[1]


def test_all_scores_and_the_ranking_agree(reranker: grating.Reranker) -> None:
    selection = reranker.rerank(QUERY, TEXTS, k=1, pruning=False)
    scores, ranking = selection.all_scores(), selection.ranking()
    assert [score.index for score in scores] == [0, 1, 2, 3]
    assert sorted(scores, key=lambda s: -s.raw_score) == ranking
    assert ranking[0].selected and not ranking[1].selected
    assert all(score.is_final and not score.altered for score in ranking)


def test_figures_have_the_fields_that_the_engine_reports(reranker: grating.Reranker) -> None:
    selection = reranker.rerank(QUERY, TEXTS, k=1, trace=True, timeline=True)
    native = selection._native
    assert native is not None
    fields = {field.name for field in dataclasses.fields(grating.Stats)}
    assert fields == set(json.loads(native.stats_json()))
    layer = {field.name for field in dataclasses.fields(grating.LayerStats)}
    assert layer == set(json.loads(native.stats_json())["funnel"][0])
    assert selection.stats.candidates == 4 and selection.stats.layers == 6
    assert selection.stats.saved == 0.0 and len(selection.stats.funnel) == 6
    assert selection.trace is not None
    last = selection.trace[-1]
    assert last == [score.raw_score for score in selection.all_scores()]
    assert selection.timeline is not None and selection.timeline["traceEvents"]
    assert selection.plan["ledger"]["total"] > 0


def test_a_selection_prints_and_survives_pickling(reranker: grating.Reranker) -> None:
    selection = reranker.rerank(QUERY, ["<b>Paris</b> & more", *TEXTS], k=2)
    assert "2 of 5 texts" in repr(selection)
    html = selection._repr_html_()
    assert "<table>" in html and "<b>Paris" not in html
    copy = pickle.loads(pickle.dumps(selection))
    assert copy == selection and copy.stats == selection.stats
    assert copy.ranking() == selection.ranking() and copy.trace is None


def test_a_reranker_survives_pickling() -> None:
    with grating.Reranker(max_length=64, threads=1) as first:
        second = pickle.loads(pickle.dumps(first))
        assert second.info["max_length"] == 64
        assert second.rerank(QUERY, TEXTS) == first.rerank(QUERY, TEXTS)


def test_several_queries_over_one_pool_and_over_their_own(reranker: grating.Reranker) -> None:
    queries = [QUERY, "Which animal?"]
    shared = reranker.rerank_many(queries, TEXTS, k=1)
    assert [selection[0].index for selection in shared] == [1, 0]
    told: list[tuple[int, int]] = []
    own = reranker.rerank_many(queries, [TEXTS, TEXTS[:1]], k=3, on_answer=lambda *at: told.append(at))
    assert [len(selection) for selection in own] == [3, 1] and told == [(1, 2), (2, 2)]
    assert own[0] == reranker.rerank(QUERY, TEXTS, k=3)
    with pytest.raises(errors.InputError, match="2 queries and 1 lists"):
        reranker.rerank_many(queries, [TEXTS])


def test_pairs_of_any_queries_score_as_they_do_alone(reranker: grating.Reranker) -> None:
    pairs = [(QUERY, TEXTS[1]), ("Which animal?", TEXTS[0]), (QUERY, TEXTS[0]), (QUERY, TEXTS[1])]
    scores = reranker.score(pairs)
    alone = [reranker.rerank(query, [text])[0].raw_score for query, text in pairs]
    assert scores == pytest.approx(alone, abs=1e-5)
    assert scores[0] == scores[3]
    same = reranker.score([(QUERY, text) for text in TEXTS])
    assert same == [s.raw_score for s in reranker.rerank(QUERY, TEXTS).all_scores()]
    assert reranker.score([]) == []
    with pytest.raises(errors.InputError, match="pair 1 is not"):
        reranker.score([(QUERY, "a"), "bc"])


def test_texts_are_kept_to_a_limit_of_the_request(reranker: grating.Reranker) -> None:
    long, short = "the river is old and wide", "the river"
    limited = reranker.score([("water", long)], max_text_tokens=2)
    assert limited == reranker.score([("water", short)]) != reranker.score([("water", long)])
    assert reranker.rerank("water", [long], max_text_tokens=2).all_scores()[0].raw_score == limited[0]
    with pytest.raises(errors.InputError, match="max_text_tokens is 0"):
        reranker.rerank("water", [long], max_text_tokens=0)


def test_long_texts_are_read_in_passages(reranker: grating.Reranker) -> None:
    begin, end = "the glass of a window is old and wide. ", "A river 🙂 carries water to the sea."
    long = begin * 6 + end
    passages = grating.Passages(tokens=12)
    best, whole = reranker.rerank("water", [long, "the river"], long=passages).all_scores()
    assert best.passage is not None and best.passage.of > 2 and whole.passage is None
    part = best.passage.text(long)
    assert part in long and reranker.score([("water", part)]) == [best.raw_score]
    assert reranker.score([("water", long)], long=passages) == [best.raw_score]
    selection = reranker.rerank("water", [long], long="passages", pruning=False)
    assert selection.stats.passages >= 1 and selection.stats.saved == 0
    [cut] = reranker.rerank("water", [long], long=grating.Passages(tokens=12, max_passages=2))
    assert cut.truncated and cut.passage is not None and cut.passage.of == 2
    assert pickle.loads(pickle.dumps(selection)).results == selection.results
    for wrong in ("cut", grating.Passages(tokens=0), grating.Passages(score="min")):
        with pytest.raises(errors.InputError):
            reranker.rerank("water", [long], long=wrong)  # type: ignore[arg-type]


def test_tokens_leave_long_texts(reranker: grating.Reranker) -> None:
    texts = ["the river is old and wide " * 20, "the river"]
    full = reranker.rerank("water", texts)
    stages = [{"depth": 0.3, "keep": {"share": 0.5}, "block": 1, "heads": "mean"}]
    policy = grating.Prune({"stages": stages, "min_tokens": 40, "first": 0, "last": 0})
    pruned = reranker.rerank("water", texts, long=policy)
    assert full.stats.tokens_left == 0 < pruned.stats.tokens_left
    assert pruned.stats.token_layers < full.stats.token_layers
    scores = [[s.raw_score for s in selection.all_scores()] for selection in (full, pruned)]
    assert scores[0][1] == scores[1][1] and scores[0][0] != scores[1][0]
    with grating.Reranker(long=policy) as always:
        assert [s.raw_score for s in always.rerank("water", texts).all_scores()] == scores[1]
        assert [s.raw_score for s in always.rerank("water", texts, long="truncate").all_scores()] == scores[0]
    assert reranker.rerank("water", texts, long="prune").stats.tokens_left == 0  # none is long enough
    with pytest.raises(errors.InputError, match="long: .*lazy-llm"):
        reranker.rerank("water", texts, long=grating.Prune("lazy"))


def test_attention_is_recorded_and_replayed(reranker: grating.Reranker) -> None:
    texts = ["the river is old and wide " * 20, "the river"]
    stages = [{"depth": 0.3, "keep": {"share": 0.5}, "block": 1, "heads": "mean"}]
    policy = {"stages": stages, "min_tokens": 40, "first": 0, "last": 0}
    full = reranker.rerank("water", texts)
    told = reranker.rerank("water", texts, attention=policy)
    assert full.attention is None and told.stats.tokens_left == 0
    assert [s.raw_score for s in told.all_scores()] == [s.raw_score for s in full.all_scores()]
    assert told.attention is not None
    long, short = told.attention
    assert short is None and long is not None
    assert len(long.mass) == 1 and long.start < long.end <= long.prefix_tokens + len(long.mass[0])
    outcome = reranker.replay_tokens(policy, long)
    pruned = reranker.rerank("water", texts, long=grating.Prune(policy))
    assert outcome.exact_stages == 1
    assert len(long.mass[0]) - len(outcome.left[0]) == pruned.stats.tokens_left
    quarter = {**policy, "stages": [{**stages[0], "keep": {"share": 0.25}}]}
    assert reranker.replay_tokens(quarter, long).token_layers < outcome.token_layers
    assert pickle.loads(pickle.dumps(told)).attention == told.attention
    with pytest.raises(errors.InputError, match="recorded attention"):
        reranker.replay_tokens({**policy, "stages": [*stages, {**stages[0], "depth": 0.7}]}, long)
    with pytest.raises(errors.InputError, match="attention: .*lazy-llm"):
        reranker.rerank("water", texts, attention="lazy")


def test_progress_is_told_and_may_end_the_request(reranker: grating.Reranker) -> None:
    told: list[tuple[int, ...]] = []
    reranker.rerank(QUERY, TEXTS, on_progress=lambda *at: told.append(at))
    assert told and told[-1][0] == told[-1][1] == 24

    def stop(*_: int) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        reranker.rerank(QUERY, TEXTS * 50, on_progress=stop)


def test_pruning_by_number_by_policy_and_not_at_all() -> None:
    # One of its own: of requests that others have asked, too, any may be the one that is audited, and so run in full.
    reranker = grating.Reranker(audit=0)
    texts = [f"{text} {i}" for i in range(10) for text in TEXTS]
    pruned = reranker.rerank(QUERY, texts, k=3, pruning=0.2)
    assert pruned.stats.saved > 0 and len(pruned) == 3
    assert len(pruned.ranking()) == 40
    policy = json.loads(grating._native.paper_policy(0.2))
    assert reranker.rerank(QUERY, texts, k=3, pruning=policy).results == pruned.results
    full = reranker.rerank(QUERY, texts, k=3, pruning=False)
    ranked = reranker.rerank(QUERY, texts, k=3, pruning=policy, mode="rank")
    if {r.index for r in ranked} == {r.index for r in full}:
        assert [(r.index, r.raw_score) for r in ranked] == [(r.index, r.raw_score) for r in full]


def test_calibration_makes_a_profile_that_the_next_reranker_takes(tmp_path: Path) -> None:
    words = ["river", "window", "engine", "garden", "letter", "music"]
    data = [
        (f"about a {word} {n}", [f"a {other} of kind {i} {n}" for other in words for i in range(3)])
        for n in range(12)
        for word in words
    ]
    told: list[tuple[int, int]] = []
    with grating.Reranker(max_length=32) as plain:
        profile = plain.calibrate(data, 3, 0.5, confidence=0.9, readout="head", on_progress=lambda *at: told.append(at))
    assert profile.k == 3 and profile.promise == {"agreement": 0.5, "confidence": 0.9}
    assert told[-1] == (72, 72)
    profile.write(tmp_path / "profile.json")
    assert grating.Profile.read(tmp_path / "profile.json") == profile
    with grating.Reranker(max_length=32, profile=tmp_path / "profile.json") as pruning:
        assert len(pruning.rerank(*data[0], k=3)) == 3
        if profile.policy:
            with pytest.raises(errors.ProfileError):
                pruning.rerank(*data[0], k=4)
    with pytest.raises(errors.ProfileError):
        grating.Reranker(profile=profile, max_length=33)


def test_calibration_tries_token_policies() -> None:
    words = ["river", "window", "engine", "garden", "letter", "music"]
    data = [(f"about a {word} {n}", [f"a {other} of {n}" for other in words]) for n in range(8) for word in words]
    policy = {
        "stages": [{"depth": 0.5, "keep": {"share": 0.5}, "block": 1, "heads": "mean"}],
        "min_tokens": 4,
        "first": 0,
        "last": 0,
    }
    with grating.Reranker(max_length=32) as plain:
        whole = plain.calibrate(data, 3, 0.4, confidence=0.8, readout="head").as_dict()
        profile = plain.calibrate(data, 3, 0.4, confidence=0.8, token_policies=[policy])
        assert plain.plan(9, 32, long=grating.Prune(policy))["prediction"]["compute_seconds"] > 0
        with pytest.raises(errors.InputError, match="token_policies"):
            plain.calibrate(data, 3, 0.5, token_policies=["lazy"])
    tried = profile.as_dict()["calibration"]["policies"]
    assert tried == 2 * whole["calibration"]["policies"] + 1
    # Which one is found depends on the texts; what becomes of tokens by it does not.
    never = {**json.loads(grating._native.paper_policy(0.5)), "first_layer": 99}
    leaving = grating.Profile({**profile.as_dict(), "policy": never, "tokens": policy})
    assert leaving.tokens == policy
    with grating.Reranker(max_length=32, profile=leaving) as pruning:
        assert pruning.rerank(*data[0], k=3).stats.tokens_left > 0
        assert pruning.rerank(*data[0], k=3, long="truncate").stats.tokens_left == 0
        assert pruning.rerank(*data[0], k=3, pruning=False).stats.tokens_left == 0


def test_pruning_is_learned_from_the_requests_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "learned.json"
    settings = {"max_length": 24, "target_agreement": 0.8, "confidence": 0.8, "learning_file": file}
    with grating.Reranker(**settings) as learning:  # type: ignore[arg-type]
        for i in range(80):
            texts = [f"the river {i} is old", *(f"{j} coins for a letter" for j in range(i, i + 9))]
            selection = learning.rerank(f"how old is the river {i}", texts, k=1)
        assert selection.stats.learning == (learning.learned or [])[-1]
        assert selection.stats.learning["phase"] == "pruning"
    with grating.Reranker(**settings) as again:  # type: ignore[arg-type]
        assert (again.learned or [])[-1]["requests"] == 80
    with pytest.raises(grating.GratingError, match="learned with another promise"):
        grating.Reranker(**{**settings, "confidence": 0.9})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"threads": 5000}, "threads is 5000"),
        ({"max_length": 1}, "a maximum length of 1"),
        ({"window": "some"}, "window: it must be"),
        ({"row_cache": "11x"}, "row_cache: it must be"),
        ({"memory_budget": "lots"}, "memory_budget: write a size"),
        ({"precision": "sloppy"}, "precision"),
        ({"isa": "z80"}, "isa"),
        ({"spill": "maybe"}, "spill: it must be"),
        ({"io": "maybe"}, "io: it must be"),
        ({"audit": 2}, "0 to 1"),
        ({"queue_length": 0}, "queue_length is 0"),
        ({"pruning": {"threshold": 1}}, "a policy looks like"),
        ({"pruning": True}, "says nothing"),
    ],
)
def test_wrong_settings_are_named(setting: dict[str, object], message: str) -> None:
    with pytest.raises(grating.GratingError, match=message):
        grating.Reranker(**setting)  # type: ignore[arg-type]


def test_wrong_requests_are_named(reranker: grating.Reranker) -> None:
    with pytest.raises(errors.InputError, match="k is 0"):
        reranker.rerank(QUERY, TEXTS, k=0)
    with pytest.raises(ValueError, match="there are no texts"):
        reranker.rerank(QUERY, [])
    with pytest.raises(errors.InputError, match="the query is blank"):
        reranker.rerank(" ", TEXTS)
    with pytest.raises(errors.InputError, match="all 2 are blank"):
        reranker.rerank(QUERY, ["", "\n"])
    assert len(reranker.score([("", "a"), ("", "")])) == 2
    with pytest.raises(TypeError, match="text 1 is of type int, not str"):
        reranker.rerank(QUERY, ["a", 1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="the query is of type"):
        reranker.rerank(None, TEXTS)  # type: ignore[arg-type]
    with pytest.raises(errors.InputError, match="text 0 has a lone surrogate"):
        reranker.rerank(QUERY, ["\ud800"])
    with pytest.raises(errors.InputError, match="one string"):
        reranker.rerank(QUERY, "abc")
    with pytest.raises(errors.DeadlineExceeded):
        reranker.rerank(QUERY, TEXTS * 100, deadline=1e-9)
    with pytest.raises(TimeoutError):
        reranker.rerank(QUERY, TEXTS, deadline=0)


def test_models_that_are_not_there() -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder"):
        grating.Reranker("./nowhere/at-all/x")
    with pytest.raises(errors.ModelError):
        grating.Reranker(Path(__file__))
    with pytest.raises(errors.ModelError):
        grating.Reranker("owner/name", local_files_only=True)


def test_a_budget_that_is_too_small_names_one_that_is_not() -> None:
    with grating.Reranker(memory_budget="1MiB") as small, pytest.raises(MemoryError, match="need"):
        small.rerank(QUERY, TEXTS)


def test_a_closed_reranker_says_so() -> None:
    closed = grating.Reranker()
    closed.close()
    closed.close()
    with pytest.raises(errors.InputError, match="closed"):
        closed.rerank(QUERY, TEXTS)
    assert repr(closed) == "Reranker(closed)"


def test_what_is_iterable_will_do(reranker: grating.Reranker) -> None:
    import numpy as np

    expected = reranker.rerank(QUERY, TEXTS)
    assert reranker.rerank(QUERY, (text for text in TEXTS)) == expected
    assert reranker.rerank(QUERY, np.array(TEXTS)) == expected


def test_plans_and_reports(reranker: grating.Reranker, tmp_path: Path) -> None:
    assert reranker.plan(100, 128)["ledger"]
    assert reranker.info["family"] == "BERT" and reranker.waiting == 0
    # Others have asked it, too: of the first requests that prune a fifth is audited.
    audits = reranker.audits
    assert audits.audited <= audits.requests and audits.mean_agreement in (None, 1.0)
    # And asked often enough about the same few texts, which are like none that the profiles were calibrated on.
    assert [status["k"] for status in reranker.monitored] == [1, 5, 10, 20]
    case = cases()[0]
    assert grating.inspect(case)["tensors"]
    assert grating.doctor(case)["checks"]
    written = grating.quantize(None, "q8_0", tmp_path / "smaller")
    assert written
    with grating.Reranker(tmp_path / "smaller") as smaller:
        assert smaller.rerank(QUERY, TEXTS, k=1)[0].index == 1
    with pytest.raises(errors.ModelError):
        grating.quantize(None, "q8_0", tmp_path / "smaller")


def test_compressed_passages_score_as_in_the_reference() -> None:
    case = GOLDENS / "gemma2-lightweight-f32"
    reference = json.loads((GOLDENS.parent / "compressed" / f"{case.name}.json").read_text())
    pair = reference["pairs"][1]
    for setting in reference["settings"]:
        compressed = {"compress_ratio": setting["ratio"], "compress_layers": setting["layers"]}
        reranker = grating.Reranker(case, max_length=pair["max_tokens"], **compressed)
        again = pickle.loads(pickle.dumps(reranker))
        for one in (reranker, again):
            trace = one.rerank(pair["query"], [pair["document"]], trace=True).trace
            assert trace is not None
            found = [trace[layers - 1][0] for layers in reference["after_layers"]]
            assert found == pytest.approx(setting["scores"][1], rel=1e-4, abs=1e-4)


def test_a_model_ends_after_its_cutoff() -> None:
    case = GOLDENS / "gemma2-lightweight-f32"
    full = grating.Reranker(case).rerank(QUERY, TEXTS, trace=True).trace
    assert full is not None
    for layers in (2, 4):
        trace = grating.Reranker(case, cutoff_layers=layers).rerank(QUERY, TEXTS, trace=True).trace
        assert trace is not None and len(trace) == layers
        assert trace[-1] == full[layers - 1]
    with pytest.raises(errors.ModelError, match="cannot end after 1 layers"):
        grating.Reranker(case, cutoff_layers=1)


def test_passages_that_cannot_be_compressed_are_refused() -> None:
    case = GOLDENS / "gemma2-lightweight-f32"
    wrong: list[tuple[Path, dict[str, Any], str]] = [
        (case, {"compress_ratio": 3}, "1, 2, 4 or 8"),
        (case, {"compress_ratio": 2}, "is 8, expected layers from 1 to 5"),
        (case, {"compress_ratio": 2, "compress_layers": [0]}, "is 0, expected layers from 1 to 5"),
        (case, {"compress_ratio": 2, "compress_layers": "2"}, "expected a list of layers"),
        (case, {"compress_layers": [2]}, "a compress_ratio beside it"),
        (GOLDENS / "gemma2-f32", {"compress_ratio": 2}, "not trained"),
    ]
    for model, settings, words in wrong:
        with pytest.raises(errors.InputError, match=words):
            grating.Reranker(model, **settings)
