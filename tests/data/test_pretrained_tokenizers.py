"""Pretrained tokenizers in the layouts that families are published in, against transformers.

The vocabularies are tiny and made here; the files are those of each family's repositories.
"""

import io
import json
import unicodedata
from pathlib import Path
from typing import NamedTuple

import pytest
import sentencepiece
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, Tokenizer, models, trainers
from transformers import (
    AlbertTokenizer,
    AutoTokenizer,
    BertTokenizer,
    GPT2Tokenizer,
    RobertaTokenizer,
    T5Tokenizer,
)

from trainer.data.encode import TextEncoder, plain_backend
from trainer.data.tokenizers import load_tokenizer
from trainer.errors import UserError

LEARNED = [
    "The café's film, number 3: it's good!<br />Don't miss it 🙂",
    "a well-known (bad) plot - the worst. Naïve readers won't like it ½ ﬁne",
] * 5
TEXTS = [
    "The café's FILM, number 3:  it's good!<br />",
    "",
    "  spaces before\tand\nbehind \u00a0",
    "🙂 日本 ½ ﬁne 👩\u200d👧 e\u0301 İstanbul",
    "a well-known (bad) plot - [SEP] the </s> worst <|endoftext|> [MASK]",
    "\x00\x85\u2028\ufeff",
    "don't " * 20,
]
MINILM = Path(__file__).parents[2] / "data" / "minilm"


class Family(NamedTuple):
    """Tokens around the texts of a pair, True if the second is of type 1, and the padding."""

    before: list[str]
    between: list[str]
    after: list[str]
    types: bool
    padding: str


BERT = Family(["[CLS]"], ["[SEP]"], ["[SEP]"], True, "[PAD]")
ROBERTA = Family(["<s>"], ["</s>", "</s>"], ["</s>"], False, "<pad>")
GPT2 = Family([], [], [], True, "<|endoftext|>")  # its models have no types
ALBERT = Family(["[CLS]"], ["[SEP]"], ["[SEP]"], True, "<pad>")
T5 = Family([], ["</s>"], ["</s>"], False, "<pad>")


def write(folder: Path, **files: dict) -> Path:
    """JSON files, by their names without ending."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def publish(tokenizer, folder: Path, model_type: str, **settings) -> Path:
    """tokenizer.json and the JSON files beside it, as repositories of the hub have them."""
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    write(
        folder,
        config={"model_type": model_type},
        tokenizer_config={"model_max_length": 512, **settings},
        special_tokens_map=special,
    )
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def wordpiece(folder: Path, lowercase: bool) -> Path:
    """A folder with vocab.txt."""
    made = BertWordPieceTokenizer(lowercase=lowercase)
    made.train_from_iterator(LEARNED, vocab_size=150, show_progress=False)
    folder.mkdir(parents=True)
    made.save_model(str(folder))
    return folder


def byte_level(folder: Path, special: list[str]) -> Path:
    """A folder with vocab.json and merges.txt."""
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(LEARNED, 290, show_progress=False, special_tokens=special)
    folder.mkdir(parents=True)
    made.save_model(str(folder))
    return folder


def unigram(special: list[str]) -> list[tuple[str, float]]:
    """Pieces with their scores."""
    made = Tokenizer(models.Unigram())
    words = [f"▁{word.lower()}" for text in LEARNED for word in text.split()]
    trainer = trainers.UnigramTrainer(vocab_size=70, special_tokens=special, show_progress=False)
    made.train_from_iterator(words, trainer)
    return [(piece, score) for piece, score in json.loads(made.to_str())["model"]["vocab"]]


def bert(folder, lowercase=True, model_type="bert", **settings):
    vocab = wordpiece(folder, lowercase) / "vocab.txt"
    made = BertTokenizer(str(vocab), do_lower_case=lowercase)
    return publish(made, folder, model_type, do_lower_case=lowercase, **settings)


def bert_cased(folder):
    return bert(folder, lowercase=False)


def bert_taking_texts_literally(folder):
    return bert(folder, split_special_tokens=True)


def distilbert(folder):
    return bert(folder, model_type="distilbert", tokenizer_class="DistilBertTokenizer")


def electra(folder):
    return bert(folder, model_type="electra", tokenizer_class="ElectraTokenizer")


def bert_files(folder):
    return write(wordpiece(folder, lowercase=True), config={"model_type": "bert"})


def roberta_files(folder):
    return write(
        byte_level(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
        config={"model_type": "roberta"},
    )


def roberta(folder):
    return publish(RobertaTokenizer.from_pretrained(roberta_files(folder)), folder, "roberta")


def gpt2_files(folder):
    byte_level(folder, [])
    vocab = json.loads((folder / "vocab.json").read_text())
    vocab["<|endoftext|>"] = len(vocab)  # the last, and not the first, as in GPT-2's own
    return write(folder, vocab=vocab, config={"model_type": "gpt2"})


def gpt2(folder):
    return publish(GPT2Tokenizer.from_pretrained(gpt2_files(folder)), folder, "gpt2")


def albert(folder):
    pieces = unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"])
    return publish(AlbertTokenizer(pieces), folder, "albert")


def t5(folder):
    return publish(T5Tokenizer(unigram(["<pad>", "</s>", "<unk>"])), folder, "t5")


def saved_anew(folder):
    AlbertTokenizer(unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"])).save_pretrained(folder)
    return folder


LAYOUTS = [
    *((make, BERT) for make in (bert, bert_cased, bert_files, distilbert, electra)),
    (bert_taking_texts_literally, BERT),
    *((make, ROBERTA) for make in (roberta, roberta_files)),
    *((make, GPT2) for make in (gpt2, gpt2_files)),
    *((make, ALBERT) for make in (albert, saved_anew)),
    (t5, T5),
]
each_layout = pytest.mark.parametrize(
    ("make", "family"), LAYOUTS, ids=[make.__name__ for make, _ in LAYOUTS]
)


@each_layout
def test_ids_and_types_are_those_that_transformers_makes(make, family, tmp_path):
    folder = make(tmp_path / "published")
    theirs = AutoTokenizer.from_pretrained(folder)
    encoder = TextEncoder(load_tokenizer(folder), 512, "head")

    def check(made, expected):
        assert made.ids.tolist() == (expected.ids or [encoder.pad_id])
        types = [int(i >= made.second_start) for i in range(len(made.ids))]
        assert types == (expected.type_ids or [0])
        assert not made.cut

    for made, expected in zip(encoder.encode(TEXTS), theirs(TEXTS).encodings, strict=True):
        check(made, expected)
    first, second = ([text for text in TEXTS for _ in TEXTS], TEXTS * len(TEXTS))
    pairs = encoder.encode(first, second)
    for made, expected in zip(pairs, theirs(first, second).encodings, strict=True):
        check(made, expected)


@each_layout
def test_special_tokens_and_padding_are_the_familys(make, family, tmp_path):
    tokenizer = load_tokenizer(make(tmp_path / "published"))
    encoder = TextEncoder(tokenizer, 512, "head")

    def ids(text):
        return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids

    before, between, after, padding = (
        [tokenizer.get_vocab()[token] for token in tokens]
        for tokens in (family.before, family.between, family.after, [family.padding])
    )
    one, two = "the film", "bad plot"
    (made,), (pair,) = encoder.encode([one]), encoder.encode([one], [two])
    assert made.ids.tolist() == before + ids(one) + after
    first = before + ids(one) + between
    assert pair.ids.tolist() == first + ids(two) + after
    assert pair.second_start == (len(first) if family.types else len(pair.ids))
    assert encoder.pad_id == padding[0]


@each_layout
def test_a_run_that_keeps_it_reads_the_same_again(make, family, tmp_path):
    tokenizer = load_tokenizer(make(tmp_path / "published"))
    tokenizer.save_pretrained(tmp_path / "kept")
    again = load_tokenizer(tmp_path / "kept")
    assert plain_backend(again).to_str() == plain_backend(tokenizer).to_str()
    assert again.special_tokens_map == tokenizer.special_tokens_map


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("config", ["bert_config", "config"])
def test_vocab_txt_alone_is_lowercased_as_its_entries_are(lowercase, config, tmp_path):
    """Google's own checkpoints have bert_config.json; nothing there says whether to lowercase."""
    folder = write(wordpiece(tmp_path / "google", lowercase), **{config: {}})
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("<S>\n[unused1]\n[MASK1]\nℝ\n")  # none of them can be lowercased, or is a word
    expected = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=lowercase)
    tokenizer = load_tokenizer(folder)
    encoder = TextEncoder(tokenizer, 512, "head")
    for text, made in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        assert made.ids.tolist() == expected(text)["input_ids"]
    one, other = (tokenizer.backend_tokenizer.encode(text).ids for text in ("THE", "the"))
    assert (one == other) == lowercase


@pytest.mark.parametrize("lowercase", [True, False])
def test_tokenizer_json_says_whether_to_lowercase(lowercase, tmp_path):
    folder = bert(tmp_path / "bert", lowercase)
    for name in ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        (folder / name).unlink()
    tokenizer = load_tokenizer(folder)
    one, other = (tokenizer.backend_tokenizer.encode(text).ids for text in ("THE", "the"))
    assert (one == other) == lowercase


@pytest.mark.parametrize(("make", "family"), [(roberta_files, ROBERTA), (gpt2_files, GPT2)])
def test_vocab_json_and_merges_alone(make, family, tmp_path):
    folder = make(tmp_path / "published")
    expected = AutoTokenizer.from_pretrained(folder)
    (folder / "config.json").unlink()
    encoder = TextEncoder(load_tokenizer(folder), 512, "head")
    for text, made in zip(TEXTS[2:], encoder.encode(TEXTS[2:]), strict=True):
        assert made.ids.tolist() == expected(text)["input_ids"]


def spiece(folder: Path, **settings) -> Path:
    """A folder with spiece.model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LEARNED),
        model_writer=model,
        vocab_size=80,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    folder.mkdir()
    (folder / "spiece.model").write_bytes(model.getvalue())
    return folder


def albert_spiece(folder: Path) -> Path:
    """With the symbols that ALBERT's own has."""
    control, own = ["[CLS]", "[SEP]", "[MASK]"], list('(),"-.–£€')
    return spiece(
        folder,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=control,
        user_defined_symbols=own,
    )


def t5_spiece(folder: Path) -> Path:
    return spiece(folder, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def as_albert_prepares(text: str) -> str:
    """Applies ALBERT's own steps before SentencePiece."""
    text = " ".join(text.split()).replace("``", '"').replace("''", '"')
    text = unicodedata.normalize("NFKD", text)
    return "".join(char for char in text if not unicodedata.combining(char)).lower()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("make", "family", "model_type", "prepare"),
    [(albert_spiece, ALBERT, "albert", as_albert_prepares), (t5_spiece, T5, "t5", str)],
)
def test_a_sentencepiece_model_alone_cuts_as_sentencepiece_does(
    make, family, model_type, prepare, named, tmp_path
):
    folder = make(tmp_path / "published")
    if named:
        write(folder, config={"model_type": model_type})
    own = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))
    tokenizer = load_tokenizer(folder)
    tokenizer.save_pretrained(tmp_path / "kept")
    again = load_tokenizer(tmp_path / "kept")
    assert plain_backend(again).to_str() == plain_backend(tokenizer).to_str()
    before, after = ([own.piece_to_id(t) for t in side] for side in (family.before, family.after))
    encoder = TextEncoder(tokenizer, 512, "head")
    texts = [text for text in TEXTS if "[SEP]" not in text]
    texts += ['well-known (bad), "so-so" - for £5.00 a day.', "–a", "-", "a.b", "``quoted''"]
    for text, made in zip(texts, encoder.encode(texts), strict=True):
        assert made.ids.tolist() == before + own.encode(prepare(text)) + after, text


def test_minilms_own_vocabulary(tmp_path):
    """The real vocabulary of BERT, uncased: with tokenizer.json, and as Google gives it."""
    if not MINILM.is_dir():
        pytest.skip(f"MiniLM is not in {MINILM}")
    google = write(tmp_path / "google", bert_config={})
    (google / "vocab.txt").write_bytes((MINILM / "vocab.txt").read_bytes())
    theirs = AutoTokenizer.from_pretrained(MINILM)
    texts = [*TEXTS, *LEARNED, "Ünïçödé ℝ ΑΒΓ unputdownable"]
    for folder in (MINILM, google):
        tokenizer = load_tokenizer(folder)
        assert tokenizer.get_vocab() == theirs.get_vocab()
        for text, made in zip(
            texts, TextEncoder(tokenizer, 512, "head").encode(texts), strict=True
        ):
            assert made.ids.tolist() == theirs(text)["input_ids"]
    assert theirs.tokenize("Unputdownable") == ["un", "##put", "##down", "##able"]


def test_code_that_comes_with_a_tokenizer_is_not_run(tmp_path):
    folder = bert(
        tmp_path / "bert", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]}
    )
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="needs code that comes with it, which is never run"):
        load_tokenizer(folder)
    assert not (tmp_path / "ran").exists()


def test_folders_that_hold_no_tokenizer(tmp_path):
    """transformers makes a vocabulary of five tokens up for some of them."""
    only_config = write(tmp_path / "config", config={"model_type": "bert"})
    with pytest.raises(UserError, match="has no vocabulary: the folder must hold"):
        load_tokenizer(only_config)
    half = gpt2_files(tmp_path / "half")
    (half / "merges.txt").unlink()
    with pytest.raises(UserError, match="has no vocabulary"):
        load_tokenizer(half)
    other = write(gpt2_files(tmp_path / "other"), config={"model_type": "bert"})
    with pytest.raises(
        UserError, match=r"it is a BertTokenizer .*lacks vocab\.txt and tokenizer\.json"
    ):
        load_tokenizer(other)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_damaged_file_is_told_in_one_line(name, tmp_path):
    folder = bert(tmp_path / "bert")
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    with pytest.raises(UserError, match=r"^cannot load tokenizer '.*bert': .+$") as caught:
        load_tokenizer(folder)
    assert len(str(caught.value)) < 400
