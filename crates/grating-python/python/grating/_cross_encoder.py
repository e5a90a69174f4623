"""The place of sentence-transformers' ``CrossEncoder``: one import changed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from ._reranker import Reranker, _is_blank
from .errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["CrossEncoder"]




class CrossEncoder:
    """A cross-encoder with the methods of sentence-transformers' class of that name.

    Scores, their default activation and the token limit are those of the model's own files, as sentence-transformers
    reads them. Text that looks like control tokens stays text; ``special_tokens_in_text=True`` is the reference's way.
    There is no training, and ``batch_size`` has no effect: all pairs go through the model together.

    Args:
        model_name_or_path: Folder, hub id, or nothing for the built-in model.
        prompts: Prompts by name, of which ``prompt_name`` picks one: an instruction where the model's template has a
            place for it, otherwise words before the query.
        max_length: Most tokens of a pair.
        activation_fn: What becomes of logits: a callable on an array or a tensor. By default as the model's files say.
        **settings: Of :class:`grating.Reranker`: ``memory_budget``, ``threads``, ``precision`` and so on.

    What only makes sense for another engine (``device``, ``backend``, ``model_kwargs``, …) is accepted and has no
    effect, with a warning where that may surprise.
    """

    def __init__(
        self,
        model_name_or_path: str | PathLike[str] | None = None,
        *,
        modules: Any = None,
        device: Any = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | PathLike[str] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: bool | str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        model_card_data: Any = None,
        backend: str = "torch",
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        default_activation_function: Callable[[Any], Any] | None = None,
        keep_in_fp32_modules: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        if modules is not None:
            raise InputError("modules: a model is loaded from its files; give its folder or hub id")
        if num_labels not in (None, 1):
            raise InputError(f"num_labels is {num_labels}: rerankers have one score a pair")
        _check_device(device)
        for given in (processor_kwargs, tokenizer_kwargs):
            max_length = max_length or (given or {}).get("model_max_length")
        self.reranker = Reranker(
            model_name_or_path,
            revision=revision,
            max_length=max_length,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
            token=token if isinstance(token, str) else None,
            **settings,
        )
        self.prompts = dict(prompts or {})
        self.default_prompt_name = default_prompt_name
        info = self.reranker.info
        self.activation_fn: Callable[[Any], Any] | str = (
            activation_fn or default_activation_function or info["activation"] or "Sigmoid"
        )
        self.num_labels = 1
        self._has_instruction: bool = info["instruction"]

    @property
    def max_length(self) -> int:
        """Most tokens of a pair."""
        return int(self.reranker.info["max_length"])

    @property
    def max_seq_length(self) -> int:
        """Most tokens of a pair."""
        return self.max_length

    def predict(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        pool: Any = None,
        chunk_size: int | None = None,
        *,
        sentences: Any = None,
    ) -> Any:
        """Scores of pairs of a query and a text, in their order.

        Args:
            inputs: A list of pairs, or one pair.
            prompt_name: Which of ``prompts`` to use.
            prompt: What the queries are for, or words before them; see the class.
            show_progress_bar: Whether to draw one (needs ``tqdm``).
            activation_fn: What becomes of logits, in place of the model's own.
            apply_softmax: Without effect: there is one score a pair.
            convert_to_numpy: An array of float32, or else a list of tensors.
            convert_to_tensor: One tensor (needs ``torch``).

        Returns:
            An array ``[pairs]`` of float32; one number for one pair.

        Raises:
            InputError: A pair is not of two strings.
        """
        if batch_size <= 0:
            raise InputError(f"batch_size must be a positive integer, got {batch_size}.")
        _check_device(device)
        inputs = sentences if inputs is None else inputs
        single = _is_single(inputs)
        pairs = [_pair(inputs)] if single else [_pair(pair) for pair in inputs]
        prompt = self._prompt(prompt, prompt_name)
        instruction, pairs = self._asked(prompt, pairs)
        with _Progress(show_progress_bar) as progress:
            logits = self.reranker.score(pairs, instruction=instruction, on_progress=progress)
        scores = self._activated(logits, activation_fn)
        return _converted(scores, single, convert_to_numpy, convert_to_tensor)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        device: Any = None,
        pool: Any = None,
        chunk_size: int | None = None,
    ) -> list[dict[Literal["corpus_id", "score", "text"], Any]]:
        """Ranks texts by their relevance to a query, best first.

        With ``top_k`` and a pruning profile, texts that are surely out leave early; scores and order of the ``top_k``
        are the full model's all the same.

        Returns:
            ``{"corpus_id": int, "score": float}``, and ``text`` with ``return_documents``.

        Raises:
            InputError: A document is no string.
        """
        if batch_size <= 0:
            raise InputError(f"batch_size must be a positive integer, got {batch_size}.")
        _check_device(device)
        documents = list(documents)
        if not documents or top_k == 0:
            return []
        instruction, pairs = self._asked(self._prompt(prompt, prompt_name), [(query, "")])
        k = len(documents) if top_k is None or top_k < 0 else min(top_k, len(documents))
        with _Progress(show_progress_bar) as progress:
            found = self._found(pairs[0][0], documents, k, instruction, progress)
        scores = self._activated([logit for _, logit in found], activation_fn).tolist()
        order = sorted(range(len(scores)), key=lambda place: -scores[place])
        results: list[dict[Literal["corpus_id", "score", "text"], Any]] = []
        for place in order:
            index = found[place][0]
            results.append({"corpus_id": index, "score": scores[place]})
            if return_documents:
                results[-1]["text"] = documents[index]
        return results[: None if top_k is None else top_k]

    def _found(
        self, query: str, documents: list[str], k: int, instruction: str | None, progress: Any
    ) -> list[tuple[int, float]]:
        """Indices and logits of the best. A blank query or blank texts only, which the reference scores, are scored."""
        if _is_blank(query) or all(map(_is_blank, documents)):
            pairs = [(query, document) for document in documents]
            logits = self.reranker.score(pairs, instruction=instruction, on_progress=progress)
            return list(enumerate(logits))
        pruning = False if k == len(documents) else None
        selection = self.reranker.rerank(
            query,
            documents,
            k,
            instruction=instruction,
            pruning=pruning,
            mode="rank",
            on_progress=progress,
        )
        return [(ranked.index, ranked.raw_score) for ranked in selection]

    def _prompt(self, prompt: str | None, name: str | None) -> str | None:
        if prompt is not None:
            return prompt
        name = name or self.default_prompt_name
        if name is None:
            return None
        if name not in self.prompts:
            raise InputError(f"Prompt name '{name}' not found in the configured prompts with keys {list(self.prompts)!r}.")
        return self.prompts[name]

    def _asked(
        self, prompt: str | None, pairs: list[tuple[str, str]]
    ) -> tuple[str | None, list[tuple[str, str]]]:
        """The prompt as the model takes it: its instruction, or words before the query."""
        if not prompt:
            return None, pairs
        if self._has_instruction:
            return prompt, pairs
        return None, [(prompt + query, text) for query, text in pairs]

    def _activated(self, logits: list[float], activation: Callable[[Any], Any] | None) -> np.ndarray[Any, Any]:
        import numpy as np

        chosen = activation or self.activation_fn
        values = np.asarray(logits, dtype=np.float32)
        name = chosen if isinstance(chosen, str) else type(chosen).__name__
        name = name.rsplit(".", 1)[-1]
        if name == "Identity":
            return values
        if name == "Sigmoid":
            # In float64, so that the only rounding is the last.
            return (1.0 / (1.0 + np.exp(-values.astype(np.float64)))).astype(np.float32)
        if isinstance(chosen, str):
            raise InputError(f"the model's files ask for the activation {chosen}: give activation_fn")
        try:
            torch = import_module("torch")
        except ImportError:
            return np.asarray(chosen(values), dtype=np.float32)
        with torch.inference_mode():
            activated = chosen(torch.from_numpy(values))
        return np.asarray(activated, dtype=np.float32)

    def close(self) -> None:
        """Ends the threads and frees the memory."""
        self.reranker.close()

    def __repr__(self) -> str:
        return f"CrossEncoder({self.reranker!r})"


class _Progress:
    """A bar of candidate-layers, where one is wanted."""

    def __init__(self, show: bool | None) -> None:
        level = logging.getLogger("sentence_transformers").getEffectiveLevel()
        self._show = level <= logging.INFO if show is None else show
        self._bar: Any = None

    def __enter__(self) -> Callable[[int, int, int, int], object] | None:
        if not self._show:
            return None
        self._bar = import_module("tqdm.auto").tqdm(desc="Layers", unit="candidate-layer")
        return self._told

    def _told(self, done: int, total: int, layer: int, layers: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _check_device(device: Any) -> None:
    if device not in (None, "cpu") and str(device) != "cpu":
        warnings.warn(f"device={device!r} has no effect: the model runs on the CPU", stacklevel=3)


def _is_single(inputs: Any) -> bool:
    """Whether it is one pair and not a list of pairs, as sentence-transformers tells them apart."""
    if isinstance(inputs, (list, tuple)):
        return len(inputs) > 0 and not isinstance(inputs[0], (list, tuple)) and not hasattr(inputs[0], "tolist")
    if hasattr(inputs, "ndim"):
        return bool(inputs.size > 0 and inputs.ndim < 2)
    return isinstance(inputs, str)


def _pair(pair: Any) -> tuple[str, str]:
    values = pair.tolist() if hasattr(pair, "tolist") else pair
    if isinstance(values, (str, bytes)) or len(values) != 2:
        raise InputError(f"not a pair of a query and a text: {values!r:.80}")
    return values[0], values[1]


def _converted(scores: np.ndarray[Any, Any], single: bool, to_numpy: bool, to_tensor: bool) -> Any:
    if to_tensor or not to_numpy:
        torch = import_module("torch")
        tensor = torch.from_numpy(scores.copy())
        if single:
            return tensor[0]
        return tensor if to_tensor else list(tensor)
    return scores[0] if single else scores
