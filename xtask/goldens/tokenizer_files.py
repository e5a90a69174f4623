"""Folders whose files disagree about the tokenizer, and what `AutoTokenizer` makes of each."""

import json

from tokenizers import models, normalizers, pre_tokenizers, processors
from tokenizers import AddedToken, Tokenizer
from transformers import AutoConfig, AutoTokenizer

import vocabularies

# Query and text, read as plain text and as the reference's default reads them.
TEXTS = [
    ("where is the River", "The RIVER runs through the city."),
    ("Café naïve ÅNGSTRÖM", "Zażółć gęślą jaźń, and a trailing space  "),
    ("日本 の 首都", "東京は日本の首都です。中国的首都是北京"),
    ("two  spaces\nand lines", "  leading\r\n\ttabs and ｆｕｌｌｗｉｄｔｈ ﬁ½ "),
    ("a cross-encoder reads", "cross-encoder and newword, Newword across-encoders"),
    ("12345 don't", "I'D say 1234567, they're 99.5%\n\n\n ok"),
    ("", ""),
    ("x", "long windows keep the warmth of the glass " * 12),
]
# With strings of control tokens: only as the reference's default reads them.
MARKED = [
    ("a [MASK] b  <mask>  c", "x [SEP] y </s> z <pad> [PAD] w <|endoftext|> <think> end"),
    ("[CLS]<s>", " </s></s> <unk> [UNK] [unused0] <new> "),
]


def edited(tokenizer, **changes):
    """The tokenizer's file with other parts; `model` changes keys of the model."""
    file = json.loads(tokenizer.to_str())
    file["model"] |= changes.pop("model", {})
    return file | changes


def bert_normalizer(lowercase=True, strip_accents=None, handle_chinese_chars=True):
    return dict(
        type="BertNormalizer",
        clean_text=True,
        handle_chinese_chars=handle_chinese_chars,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )


def template(pair, **ids):
    special = [(token.replace("_", ""), id) for token, id in ids.items()]
    processor = processors.TemplateProcessing(single="$A", pair=pair, special_tokens=special)
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.post_processor = processor
    return json.loads(tokenizer.to_str())["post_processor"]


def sentencepiece(pre=None):
    """Like multilingual MiniLM's file: no split at white space, another normalizer than the class has."""
    metaspace = dict(type="Metaspace", replacement="▁", prepend_scheme="always", split=True)
    return edited(vocabularies.unigram(), pre_tokenizer=metaspace)


def byte_level_roberta():
    tokenizer = vocabularies.byte_level_bpe(420, regex=vocabularies.LLAMA3_REGEX)
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in names])
    tokenizer.add_special_tokens([AddedToken("<mask>", special=True, normalized=False, lstrip=True)])
    return edited(tokenizer)


def metaspace_bpe():
    """Like Llama 2: BPE over words marked by U+2581, bytes for what the vocabulary lacks."""
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pre = pre_tokenizers.Metaspace(split=True)
    letters = sorted({letter for word, _ in vocabularies.words(pre, normalizers.NFC()) for letter in word} | set("yesno"))
    merges = vocabularies.bpe_merges(pre, normalizers.NFC(), 200)
    vocab = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    vocab += [piece for piece in letters if piece not in vocab]
    known = set(vocab)
    for pair in merges:
        for piece in (*pair, "".join(pair)):
            if piece not in known:
                known.add(piece)
                vocab.append(piece)
    model = models.BPE({t: i for i, t in enumerate(vocab)}, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return edited(tokenizer)


def config(family, tokenizer, positions=160, **more):
    architecture, model_type = {
        "bert": ("BertForSequenceClassification", "bert"),
        "xlm-roberta": ("XLMRobertaForSequenceClassification", "xlm-roberta"),
        "qwen2": ("Qwen2ForCausalLM", "qwen2"),
        "qwen3": ("Qwen3ForCausalLM", "qwen3"),
        "llama": ("LlamaForCausalLM", "llama"),
    }[family]
    vocab = tokenizer["model"]["vocab"] if tokenizer else []
    sizes = dict(num_hidden_layers=1, hidden_size=8, num_attention_heads=1, intermediate_size=8)
    labels = {} if "Causal" in architecture else dict(id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0})
    first = dict(architectures=[architecture], model_type=model_type, max_position_embeddings=positions)
    return first | dict(vocab_size=len(vocab) + 40) | sizes | labels | more


BERT = dict(cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]")
XLMR = dict(
    bos_token="<s>", eos_token="</s>", sep_token="</s>", cls_token="<s>", unk_token="<unk>", pad_token="<pad>", mask_token="<mask>"
)


def token(content, **flags):
    return dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True) | flags


def cases():
    """Name: family, tokenizer.json (or the lines of a vocab.txt), files beside it, further keys of config.json."""
    wordpiece = vocabularies.wordpiece()
    id_of = wordpiece.token_to_id
    cased = edited(wordpiece, normalizer=bert_normalizer(lowercase=False, strip_accents=False))
    settings = vocabularies.wordpiece_with_settings()
    listed = {str(id_of(t)): token(t) for t in BERT.values()} | {
        str(id_of("[unused0]")): token("[unused0]", rstrip=True),
        "900": token("newword", normalized=True, special=False),
    }
    yield "bert-cased-by-config", "bert", edited(wordpiece), dict(
        tokenizer_config=dict(tokenizer_class="BertTokenizer", do_lower_case=False, model_max_length=64) | BERT
    ), {}
    yield "bert-lower-case-by-default", "bert", cased, {}, {}
    yield "bert-accents-and-chinese-kept", "bert", edited(wordpiece), dict(
        tokenizer_config=dict(
            tokenizer_class="BertTokenizerFast", strip_accents=False, tokenize_chinese_chars=False, model_max_length=int(1e30)
        )
    ), {}
    yield "bert-as-written", "bert", edited(settings, normalizer=bert_normalizer(lowercase=False)), dict(
        tokenizer_config=dict(tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True, model_max_length=1024) | BERT
    ), {}
    more = template("[CLS]:0 $A:0 [SEP]:0 [MASK]:1 $B:1 [MASK]:1 [SEP]:0", **{t: id_of(t) for t in ("[CLS]", "[SEP]", "[MASK]")})
    yield "bert-more-tokens-around", "bert", edited(wordpiece, post_processor=more), dict(
        tokenizer_config=dict(
            tokenizer_class="PreTrainedTokenizerFast", model_input_names=["input_ids", "token_type_ids", "attention_mask"]
        )
        | BERT
    ), {}
    yield "bert-no-tokens-around", "bert", edited(wordpiece, post_processor=None), dict(
        tokenizer_config=dict(tokenizer_class="TokenizersBackend")
    ), {}
    names = BERT | dict(cls_token="[unused0]", sep_token="[MASK]", unk_token="[PAD]")
    yield "bert-renamed", "bert", edited(wordpiece), dict(tokenizer_config=names), dict(tokenizer_class="BertTokenizer")
    yield "bert-added-tokens-listed", "bert", edited(wordpiece), dict(
        tokenizer_config=dict(tokenizer_class="BertTokenizer", added_tokens_decoder=listed) | BERT
    ), {}
    yield "bert-as-written-added-tokens-listed", "bert", edited(wordpiece), dict(
        tokenizer_config=dict(
            tokenizer_class="PreTrainedTokenizerFast", added_tokens_decoder=listed, additional_special_tokens=["<new>"]
        )
    ), {}
    yield "bert-older-files", "bert", edited(wordpiece), dict(
        tokenizer_config=dict(do_lower_case=True),
        special_tokens_map=BERT | dict(sep_token=token("[SEP]", lstrip=True), additional_special_tokens=["[unused0]"]),
        added_tokens={"newword": wordpiece.get_vocab_size()},
    ), {}
    yield "bert-vocab-only", "bert", [t for t, _ in sorted(wordpiece.get_vocab(False).items(), key=lambda x: x[1])], dict(
        tokenizer_config=dict(tokenizer_class="BertTokenizerFast", strip_accents=False, model_max_length=512) | BERT
    ), {}
    yield "bert-sentencepiece", "bert", sentencepiece(), dict(
        tokenizer_config=dict(tokenizer_class="XLMRobertaTokenizer", model_max_length=128) | XLMR
    ), {}
    yield "bert-sentencepiece-as-written", "bert", sentencepiece(), dict(
        tokenizer_config=dict(tokenizer_class="PreTrainedTokenizerFast") | XLMR
    ), {}
    yield "xlm-roberta-no-config", "xlm-roberta", sentencepiece(), {}, dict(pad_token_id=1)
    yield "xlm-roberta-as-written", "xlm-roberta", sentencepiece(), dict(
        tokenizer_config=dict(tokenizer_class="PreTrainedTokenizerFast", model_max_length=96) | XLMR
    ), dict(pad_token_id=1)
    yield "xlm-roberta-with-roberta-tokenizer", "xlm-roberta", byte_level_roberta(), dict(
        tokenizer_config=dict(tokenizer_class="RobertaTokenizer", add_prefix_space=True, model_max_length=150) | XLMR
    ), dict(pad_token_id=1)
    yield "qwen2-as-llama3", "qwen2", edited(vocabularies.llama()), dict(
        tokenizer_config=dict(tokenizer_class="PreTrainedTokenizerFast", model_max_length=131072)
    ), {}
    yield "qwen3-named", "qwen3", edited(vocabularies.byte_level_bpe(500, vocabularies.LLAMA3_REGEX)), dict(
        tokenizer_config=dict(tokenizer_class="Qwen2Tokenizer", model_max_length=100)
    ), {}
    yield "llama-byte-level", "llama", edited(vocabularies.llama()), dict(
        tokenizer_config=dict(tokenizer_class="LlamaTokenizerFast")
    ), {}
    for legacy in (True, False):
        yield f"llama-metaspace-{'legacy' if legacy else 'new'}", "llama", metaspace_bpe(), dict(
            tokenizer_config=dict(tokenizer_class="LlamaTokenizer", legacy=legacy, bos_token="<s>", eos_token="</s>")
        ), {}


def make(family, tokenizer, files, more, folder, write_golden):
    """Writes the folder and what the reference makes of it."""
    if isinstance(tokenizer, list):
        (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in tokenizer))
        own = {"model": {"vocab": tokenizer}}
    else:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
        own = tokenizer
    for name, content in (files | {"config": config(family, own, **more)}).items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    reference = AutoTokenizer.from_pretrained(folder)
    # The rule of sentence-transformers' `Transformer`; positions up to the padding's have no token (RoBERTa).
    positions = config(family, own, **more)["max_position_embeddings"]
    if family == "xlm-roberta":
        positions -= AutoConfig.from_pretrained(folder).pad_token_id + 1
    limit = min(reference.model_max_length, positions)
    is_pair = family in ("bert", "xlm-roberta")
    pairs = []
    for special, (query, document) in [(False, t) for t in TEXTS] + [(True, t) for t in TEXTS + MARKED]:
        pair = dict(query=query if is_pair else "", document=document, special=special)
        if is_pair:
            x = reference(
                [query], [document], truncation="only_second", max_length=limit, split_special_tokens=not special
            )
            x = {key: value[0] for key, value in x.items()}
        else:
            x = dict(input_ids=reference.encode(document, add_special_tokens=False, split_special_tokens=not special)[:limit])
        pair |= dict(ids=x["input_ids"], type_ids=x.get("token_type_ids", []))
        pairs.append(pair)
    print(f"{folder.name:36} {type(reference).__name__}, {limit} tokens")
    write_golden(folder / "golden_ids.json", {"class": type(reference).__name__, "max_tokens": limit, "pairs": pairs})
