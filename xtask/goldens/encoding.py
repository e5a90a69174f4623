"""The reference's way from text to ids, and the project's rule for control tokens in user text."""

import hashlib
import struct

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from vocabularies import is_control, without_control_tokens

PLACES = ("{instruction}", "{query}", "{document}")


class PairEncoder:
    """`[CLS] query [SEP] document [SEP]`, `<s> query </s></s> document </s>`: the post-processor of tokenizer.json.
    The longer of the two is cut first, as sentence-transformers' CrossEncoder has it."""

    def __init__(self, tokenizer, special_tokens_in_text):
        self.whole = load(tokenizer)
        self.special_tokens_in_text = special_tokens_in_text
        self.plain = without_control_tokens(tokenizer)
        self.plain.post_processor = tokenizer.post_processor

    def encode(self, query, document, instruction, max_tokens):
        # Lists, since a lone pair with an empty document is taken for a single sequence.
        call = lambda **more: self.whole(
            [query],
            [document],
            return_token_type_ids=True,
            split_special_tokens=not self.special_tokens_in_text,
            **more,
        )
        cut, whole = call(truncation="longest_first", max_length=max_tokens), call()
        ids, type_ids = cut["input_ids"][0], cut["token_type_ids"][0]
        if self.special_tokens_in_text:
            return ids, type_ids, *what_was_cut(cut.sequence_ids(0), whole.sequence_ids(0))
        self.plain.enable_truncation(max_tokens, strategy="longest_first")
        plain = self.plain.encode(query, document)
        self.plain.no_truncation()
        if must_agree(self.whole, query + document):
            assert plain.ids == ids, (query, document)
        whole = self.plain.encode(query, document)
        return plain.ids, plain.type_ids, *what_was_cut(plain.sequence_ids, whole.sequence_ids)


def what_was_cut(cut, whole):
    """Whether the document was, and whether the query was: by how many tokens of each are left."""
    return cut.count(1) < whole.count(1), cut.count(0) < whole.count(0)


class FilesEncoder:
    """What `AutoTokenizer` makes of a folder's files; for pairs that are cut alike whichever side may be cut."""

    def __init__(self, folder):
        self.whole = AutoTokenizer.from_pretrained(folder)

    def encode(self, query, document, max_tokens, special):
        def call(truncation):
            x = self.whole(
                [query], [document], truncation=truncation, max_length=max_tokens, split_special_tokens=not special
            )
            return x["input_ids"][0], x.get("token_type_ids", [[]])[0]

        if call("longest_first") != call("only_second"):
            return None
        ids, type_ids = call("longest_first")
        whole = self.whole([query], [document], split_special_tokens=not special)["input_ids"][0]
        return ids, type_ids, len(whole) > max_tokens


class PromptEncoder:
    """As in Qwen3-Reranker's model card: prefix and suffix apart, the body as one string, or several, of which the document
    is cut at its end."""

    def __init__(self, tokenizer, template, special_tokens_in_text):
        self.whole = load(tokenizer)
        self.plain = without_control_tokens(tokenizer)
        self.template = template
        self.special_tokens_in_text = special_tokens_in_text
        self.prefix, self.suffix = (self.ids(template[part], True) for part in ("prefix", "suffix"))

    def encode(self, query, document, instruction, max_tokens):
        """None where what stands behind the document leaves no room: that is never cut."""
        runs = self.runs(self.values(query, document, instruction))
        at = next(n for n, run in enumerate(runs) if isinstance(run, dict))
        before, after = self.all(runs[:at]), self.all(runs[at + 1 :])
        run, special = runs[at], self.special_tokens_in_text
        lead, tail = run["lead"], run["tail"]
        room = max_tokens - len(self.prefix) - len(self.suffix)
        behind = len(self.ids(tail, special)) + len(after)
        over = len(before) + len(self.ids(lead, special)) + behind > room
        if over and self.asks_behind:
            return None
        whole = self.ids(lead + document + tail, special)
        if len(before) + len(whole) + len(after) <= room:
            return self.prefix + before + whole + after + self.suffix, [], False, over
        own = self.ids(lead + document, special)
        kept = (before + own)[: max(0, room - behind)]
        ids = self.prefix + kept + self.ids(tail, special) + after + self.suffix
        return ids, [], len(kept) < len(before + own) and document != "", over

    def values(self, query, document, instruction):
        if instruction is None:
            instruction = self.template["default_instruction"]
        return dict(zip(PLACES, (instruction, query, document)))

    @property
    def asks_behind(self):
        behind = "".join(self.strings).split("{document}")[1]
        return "{query}" in behind or "{instruction}" in behind

    @property
    def strings(self):
        """What is tokenized one by one."""
        body = self.template["body"]
        return [body] if isinstance(body, str) else body

    def runs(self, values):
        """Strings that are tokenized one by one, ids of control tokens between them, and the run of the document.
        Where user text is plain, control tokens of the template's own words are hard seams in it."""
        control = [t.content for t in self.whole.added_tokens_decoder.values() if is_markup(t)]
        runs = []
        for string in self.strings:
            run = Run()
            for piece, own in pieces(string, values):
                own = own is None  # the template's
                while own and not self.special_tokens_in_text and (
                    found := [(piece.find(t), -len(t), t) for t in control if t in piece]
                ):
                    at, _, token = min(found)
                    run.add(piece[:at])
                    runs += [run.end(), self.whole.convert_tokens_to_ids(token)]
                    run, piece = Run(), piece[at + len(token) :]
                run.add(piece)
            runs.append(run.end())
        return [run for run in runs if run != ""]

    def all(self, runs):
        ids = []
        for run in runs:
            ids += [run] if isinstance(run, int) else self.ids(run, self.special_tokens_in_text)
        return ids

    def ids(self, text, special):
        reference = self.whole(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"]
        if special:
            return reference
        plain = self.plain.encode(text, add_special_tokens=False).ids
        if must_agree(self.whole, text):
            assert plain == reference, text
        return plain


class Run:
    """Text that is tokenized as one string; a dict of what is before and behind the document, if that is in it."""

    def __init__(self):
        self.lead, self.tail = "", None

    def add(self, text):
        if text is DOCUMENT:
            self.tail = ""
        elif self.tail is None:
            self.lead += text
        else:
            self.tail += text

    def end(self):
        return self.lead if self.tail is None else {"lead": self.lead, "tail": self.tail}


DOCUMENT = object()


def pieces(body, values):
    """The body's own words (with None) and what is put into its places (with the place)."""
    while body:
        found = [(body.find(place), place) for place in PLACES if place in body]
        if not found:
            yield body, None
            return
        at, place = min(found)
        yield body[:at], None
        yield DOCUMENT if place == "{document}" else values[place], place
        body = body[at + len(place) :]


def load(tokenizer):
    """transformers' fast tokenizer over the same file, its own truncation and padding off."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return PreTrainedTokenizerFast(tokenizer_object=copy)


def must_agree(whole, text):
    """Where the rule must be `split_special_tokens=True` to the token: no special string of Unigram's, and no markup
    that is an added token but not marked special."""
    unigram = "Unigram" in type(whole.backend_tokenizer.model).__name__
    doubtful = [t.content for t in whole.added_tokens_decoder.values() if is_markup(t) and (unigram or not t.special)]
    return not any(token in text for token in doubtful)


def is_markup(token):
    return is_control({"content": token.content, "special": token.special})


def digest(ids):
    """sha256 of the ids as little-endian u32."""
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()
