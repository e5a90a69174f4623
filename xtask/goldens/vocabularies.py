"""Small tokenizers of the three kinds that rerankers use, built like the originals' `tokenizer.json`."""

import json
import math
from collections import Counter

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import generate_merges

from texts import corpus

QWEN_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# An added word that is no control token: it must keep its id in either mode.
ADDED_WORD = "cross-encoder"


def byte_level_bpe(size, regex=QWEN_REGEX, ignore_merges=False):
    """Byte-level BPE; vocabulary and merges as Qwen's and Llama 3's, less the added tokens."""
    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = bpe_merges(pre, normalizers.NFC(), size - len(alphabet))
    vocab = {token: i for i, token in enumerate(alphabet + ["".join(pair) for pair in merges])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def words(pre, normalizer):
    """Pre-tokens of the corpus with their counts, in an order that does not depend on hashing."""
    counts = Counter()
    for line in corpus():
        counts.update(word for word, _ in pre.pre_tokenize_str(normalizer.normalize_str(line)))
    return sorted(counts.items())


ANSWERS = [("y", "e"), ("ye", "s"), ("n", "o"), ("t", "r"), ("tr", "u"), ("tru", "e")]
ANSWERS += [("f", "a"), ("fa", "l"), ("fal", "s"), ("fals", "e")]


def bpe_merges(pre, normalizer, wanted, first=ANSWERS):
    """Plain byte-pair encoding; ties go to the pair that sorts first, so that every run gives the same merges.
    The answers are single tokens, so theirs come first."""
    corpus_words = [[list(word), count] for word, count in words(pre, normalizer)]
    merges = list(first)
    for pair in merges:
        apply_merge(corpus_words, pair)
    while len(merges) < wanted:
        pairs = Counter()
        for symbols, count in corpus_words:
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += count
        known = {"".join(pair) for pair in merges}
        pair = min((p for p in pairs if "".join(p) not in known), key=lambda p: (-pairs[p], p))
        merges.append(pair)
        apply_merge(corpus_words, pair)
    return merges


def apply_merge(corpus_words, pair):
    for entry in corpus_words:
        symbols, merged, i = entry[0], [], 0
        while i < len(symbols):
            if tuple(symbols[i : i + 2]) == pair:
                merged.append("".join(pair))
                i += 2
            else:
                merged.append(symbols[i])
                i += 1
        entry[0] = merged


def qwen(size=560):
    """Like Qwen3: control tokens are special, `<think>` is an added token that is not."""
    tokenizer = byte_level_bpe(size)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>")])
    tokenizer.add_tokens([AddedToken(ADDED_WORD, special=False, normalized=True)])
    return tokenizer


def llama(size=500):
    """Like Llama 3: groups of three digits, whole words before merges, and a post-processor that adds a start token
    (which a template's parts must not get)."""
    tokenizer = byte_level_bpe(size, LLAMA3_REGEX, ignore_merges=True)
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    start = special[0]
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{start}:0 $A:0",
                pair=f"{start}:0 $A:0 {start}:1 $B:1",
                special_tokens=[(start, tokenizer.token_to_id(start))],
            ),
        ]
    )
    return tokenizer


def sentencepiece_bpe(special, normalizer, pre_tokenizer, prefix, size):
    """sentencepiece's BPE: spaces are U+2581, and bytes stand for what the vocabulary lacks."""
    pre = pre_tokenizers.Metaspace(prepend_scheme=prefix)
    plain = normalizers.Sequence([])
    letters = sorted({letter for word, _ in words(pre, plain) for letter in word} | set("Yes"))
    vocab = special + [f"<0x{byte:02X}>" for byte in range(256)] + letters
    merges = bpe_merges(pre, plain, size - len(vocab), [("Y", "e"), ("Ye", "s")])
    vocab += ["".join(pair) for pair in merges]
    vocab = {token: i for i, token in enumerate(vocab)}
    # A piece is made of any two others, in the order of scores, which fall from piece to piece.
    normal = {token: -float(i) for token, i in vocab.items() if i >= len(special) + 256}
    merges = generate_merges(vocab, normal)
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tokenizer


def minicpm(size=640):
    """Like Llama 2 and MiniCPM, as `LlamaTokenizer` sets it up: a space before each text."""
    pre = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    return sentencepiece_bpe(["<unk>", "<s>", "</s>"], None, pre, "always", size)


def gemma(size=640):
    """Like Gemma, as `GemmaTokenizer` sets it up."""
    pre = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    return sentencepiece_bpe(special, normalizers.Replace(" ", "\u2581"), pre, "never", size)


def modernbert(size=540):
    """Like ModernBERT: bytes, with BERT's control tokens around a pair."""
    tokenizer = byte_level_bpe(size, LLAMA3_REGEX)
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False, lstrip=t == "[MASK]") for t in special])
    tokenizer.add_tokens([AddedToken(ADDED_WORD, special=False, normalized=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def wordpiece(size=520):
    """Like BERT uncased."""
    pre, normalizer = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=True)
    counts = words(pre, normalizer)
    letters = sorted({letter for word, _ in counts for letter in word})
    vocab = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab += letters + ["##" + letter for letter in letters]
    pieces = Counter()
    for word, count in counts:
        for start in range(len(word)):
            for end in range(start + 2, len(word) + 1):
                pieces[("##" if start else "") + word[start:end]] += count * (end - start - 1)
    vocab += sorted(pieces, key=lambda piece: (-pieces[piece], piece))[: size - len(vocab)]
    tokenizer = Tokenizer(models.WordPiece(vocab={t: i for i, t in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.add_tokens([AddedToken(ADDED_WORD, special=False, normalized=True)])
    cls, sep = (tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    return tokenizer


def wordpiece_with_settings(size=520):
    """The same with a `BertProcessing` post-processor, and truncation and padding left on in the file, as many
    published ones have them."""
    tokenizer = wordpiece(size)
    cls, sep = (tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    tokenizer.enable_truncation(max_length=16)
    tokenizer.enable_padding(length=128, pad_id=0, pad_token="[PAD]")
    return tokenizer


def unigram(size=520):
    """Like XLM-RoBERTa: Unigram with the control tokens in its own vocabulary, words marked by U+2581. The original
    normalizes with sentencepiece's NFKC table (300 kB), for which NFKC stands in here."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    pre = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    counts = words(pre, normalizer)
    letters, pieces = Counter(), Counter()
    for word, count in counts:
        for start in range(len(word)):
            letters[word[start]] += count
            for end in range(start + 2, min(len(word), start + 12) + 1):
                pieces[word[start:end]] += count * (end - start - 1)
    kept = sorted(pieces, key=lambda piece: (-pieces[piece], piece))[: size - 5 - len(letters)]
    total = sum(letters.values()) + sum(pieces[piece] for piece in kept)
    scored = {piece: pieces[piece] for piece in kept} | dict(letters)
    ordered = sorted(scored, key=lambda piece: (-scored[piece], piece))
    vocab = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    vocab += [(piece, round(math.log(scored[piece] / total), 6)) for piece in ordered] + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=False))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre
    tokenizer.decoder = decoders.Metaspace()
    special = [AddedToken(t, special=True, normalized=False) for t in ("<s>", "<pad>", "</s>", "<unk>")]
    special.append(AddedToken("<mask>", special=True, normalized=False, lstrip=True))
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def roberta(size=470):
    """Like RoBERTa: bytes under GPT-2's pattern, with the control tokens first in the vocabulary."""
    file = json.loads(byte_level_bpe(size).to_str())
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = names + sorted(file["model"]["vocab"], key=file["model"]["vocab"].get) + ["<mask>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = [tuple(merge) for merge in file["model"]["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True, normalized=False) for t in names]
    tokenizer.add_special_tokens(special + [AddedToken("<mask>", special=True, normalized=False, lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def camembert(size=500):
    """Like CamemBERT: XLM-RoBERTa's kind, with unused names in the vocabulary, and the unknown piece not the fourth."""
    file = json.loads(unigram(size).to_str())
    pieces = dict(file["model"]["vocab"])
    names = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    vocab = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(piece, score) for piece, score in pieces.items() if piece not in names] + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=5, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    special = [AddedToken(t, special=True, normalized=False) for t in names[:4]]
    tokenizer.add_special_tokens(special + [AddedToken("<mask>", special=True, normalized=False, lstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 3), ("</s>", 4)]
    )
    return tokenizer


def deberta(size=520):
    """Like DeBERTa-v3: BERT's names over sentencepiece's pieces, set up as transformers' class does it."""
    file = json.loads(unigram(size).to_str())
    names = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    vocab = [(name, 0.0) for name in special]
    vocab += [(piece, score) for piece, score in file["model"]["vocab"] if piece not in names] + [("[MASK]", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=False))
    blanks = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    tokenizer.normalizer = normalizers.Sequence([blanks, normalizers.NFC(), normalizers.Strip(left=False, right=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special + ["[MASK]"]])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


def without_control_tokens(tokenizer):
    """The project's rule for user text: no string becomes a control token. That is `split_special_tokens=True`, and
    two things that it leaves: added tokens which look like markup but are not marked special (`<think>`), and control
    tokens in Unigram's own vocabulary, which it finds there like any word."""
    file = json.loads(tokenizer.to_str())
    control = {token["content"] for token in file["added_tokens"] if is_control(token)}
    hidden = control if file["model"]["type"] == "Unigram" else set()
    # A space cannot be in a piece: the pre-tokenizer splits there.
    rename = lambda content: " " + content if content in hidden else content
    for token in file["added_tokens"]:
        token["special"] = token["content"] in control
        token["content"] = rename(token["content"])
    if hidden:
        file["model"]["vocab"] = [[rename(piece), score] for piece, score in file["model"]["vocab"]]
    file["post_processor"] = file["truncation"] = file["padding"] = None
    plain = Tokenizer.from_str(json.dumps(file))
    plain.encode_special_tokens = True
    return plain


def is_control(token):
    markup = token["content"].strip("\u2581 ")
    return token["special"] or (markup[:1], markup[-1:]) in (("<", ">"), ("[", "]"))
