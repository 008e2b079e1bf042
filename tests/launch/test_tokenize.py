"""launch.tokenize: what it shows, in which words, and how fast it must be up."""

import io
import re
import subprocess
import sys

import pytest
from programs import ROOT, environment, run
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AlbertTokenizer, BertTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from launch import main as program
from launch import token_table

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "##s", ".", "good", "日"]
PIECES = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "▁", "▁a", "▁film", "s", ".", "▁go", "od"]
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def wordpiece():
    return BertTokenizer({word: i for i, word in enumerate(WORDS)})


def unigram():
    return AlbertTokenizer([(piece, -float(i)) for i, piece in enumerate(PIECES)])


def byte_level():
    vocab = {char: i for i, char in enumerate([*BYTES, "oo", "Ġg", "<|endoftext|>"])}
    return GPT2Tokenizer(vocab, [("o", "o"), ("Ġ", "g")])


@pytest.fixture
def folders(tmp_path):
    """Two tokenizers, as a flag takes them."""
    wordpiece().save_pretrained(tmp_path / "wordpiece")
    unigram().save_pretrained(tmp_path / "unigram")
    return "wordpiece,unigram"


def show(folder, *arguments):
    return run(
        *arguments,
        program="launch.tokenize",
        cwd=folder,
        env={**environment(), "HF_HUB_OFFLINE": "1"},
    )


TABLE = """\
text        wordpiece    unigram
            [CLS]  2 *   [CLS]  2 *
A\u0301           a      5     ▁a     6
films       film   6     ▁film  7
            ##s    7     s      8
日🙂.       日    10     ▁      5
            [UNK]  1 ?   <unk>  1 ?
            .      8     .      9
good        good   9     ▁go   10
                         od    11
            [SEP]  3 *   [SEP]  3 *
tokens             9           10
* special          2            2
? unknown          1            1
"""


def test_the_table(folders, tmp_path):
    ended = show(tmp_path, f"--tokenizer={folders}", "A\u0301 films  日🙂. good ")
    assert ended.stderr == ""
    assert ended.status == 0
    assert ended.stdout == TABLE


ASCII = """\
text             wordpiece
                 [CLS]   2 *
\\u65e5           \\u65e5 10
\\xe9\\U0001f642   [UNK]   1 ?
                 [SEP]   3 *
tokens                   4
* special                2
? unknown                1
"""


@pytest.mark.long
def test_a_stream_that_knows_only_ascii(folders, tmp_path):
    poor = {"PYTHONIOENCODING": "ascii", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "launch.tokenize", "--tokenizer=wordpiece", "日 é🙂"]
    environ = {**environment(), **poor}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", ASCII)


def test_shown(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert program.encodable("größe 日\udcff") == "größe \\u65e5\\udcff"


@pytest.mark.long
def test_notes_go_to_standard_error(folders, tmp_path):
    path = tmp_path / "wordpiece" / "tokenizer.json"
    path.write_text(path.read_text().replace('"lowercase": true', '"lowercase": false'))
    ended = show(tmp_path, "--tokenizer=wordpiece", "Film")
    assert ended.status == 0
    assert ended.stdout.splitlines()[2].split() == ["Film", "[UNK]", "1", "?"]
    assert ended.stderr.startswith("Note: tokenizer 'wordpiece': the ids are those of tokenizer.")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.long
def test_several_texts_and_flags_in_any_order(folders, tmp_path):
    one, two = folders.split(",")
    ended = show(tmp_path, "good", f"--tokenizer={two}", f"--tokenizer={one}", "--", "--a", "")
    assert ended.status == 0, ended.stderr
    first, second, third = ended.stdout.split("\n\n")
    assert first.splitlines()[0].split() == ["text", "unigram", "wordpiece"]
    assert first.splitlines()[2].split() == ["good", "▁go", "10", "good", "9"]
    assert second.splitlines()[2].startswith("--a ")
    assert [line.split()[-1] for line in third.splitlines()[-3:]] == ["2", "2", "0"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--tokenizer=wordpiece,none", "a"],
            "tokenizer 'none': there is no such folder, and it is",
        ),
        (
            ["--tokenizer=wordpiece/none/none", "a"],
            "'wordpiece/none/none': there is no such folder",
        ),
        (["--tokenizer=.", "a"], "tokenizer '.': it has no vocabulary"),
        (["--tokenizer=wordpiece"], "give a text: "),
        (["--tokenizer=wordpiece,", "a"], "--tokenizer is empty"),
        (["a"], "--tokenizer"),
        (["--tokenizer=wordpiece", b"caf\xe9"], "bytes that are not UTF-8"),
    ],
)
def test_a_mistake_is_one_line(folders, tmp_path, arguments, said):
    command = [sys.executable, "-m", "launch.tokenize", *arguments]
    environ = {**environment(), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.long
def test_tensorflow_is_not_waited_for(folders, tmp_path):
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('launch.tokenize', run_name='__main__')\n"
        "finally: print([m for m in ('tensorflow', 'keras', 'torch') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, f"--tokenizer={tmp_path / 'unigram'}", "a film"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr
    assert "▁film" in done.stdout
    assert done.stdout.endswith("[]\n")


def words_of(text, tokenizer):
    """The pieces by the word that they are shown beside; 0 before the first."""
    found = [[] for _ in range(len(text.split()) + 2)]
    for piece in token_table.pieces(text, tokenizer):
        found[piece.word].append(piece.text)
    return found


def test_a_space_belongs_to_the_word_behind_it():
    assert words_of(" good  a ", byte_level()) == [
        [],
        ["Ġg", "oo", "d"],
        ["Ġ", "Ġ", "a"],
        ["Ġ"],
    ]
    assert words_of("a good", unigram()) == [["[CLS]"], ["▁a"], ["▁go", "od"], ["[SEP]"]]
    assert words_of("", wordpiece()) == [["[CLS]", "[SEP]"], []]


def test_marks():
    def marks(text, tokenizer):
        return [(piece.text, piece.mark) for piece in token_table.pieces(text, tokenizer)]

    assert marks("x [MASK]", wordpiece())[1:3] == [("[UNK]", "?"), ("[MASK]", "*")]
    # Bytes lack nothing, though GPT-2 calls its only special token the unknown one too.
    assert marks("<|endoftext|>é", byte_level()) == [("<|endoftext|>", "*"), ("Ã", ""), ("©", "")]
    backend = Tokenizer(models.WordLevel({"a": 0, "none": 1}, unk_token="none"))
    unnamed = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert marks("b", unnamed) == [("none", "?")]


def test_what_a_terminal_would_obey_is_escaped():
    shown = token_table.table("\x1b[31m a\u0301\x85b \u200d", {"wordpiece": wordpiece()})
    assert shown.replace("\n", "").isprintable()
    assert "\\x1b[31m" in shown
    assert "\n\\u200d" in shown


@pytest.mark.slow
def test_docs_show_what_their_commands_print(tmp_path):
    for needed in ("data/imdb_sample", "data/minilm"):
        if not (ROOT / needed).is_dir():
            pytest.skip(f"{needed} is missing: make data weights")
    (tmp_path / "data").symlink_to(ROOT / "data")
    page = (ROOT / "docs" / "results" / "tokenizers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 7
    train, *shown = blocks
    for command, expected in [(train, ""), *zip(shown[::2], shown[1::2], strict=True)]:
        bash = ["bash", "-c", command.replace(".venv/bin/python", sys.executable)]
        done = subprocess.run(bash, capture_output=True, text=True, cwd=tmp_path, env=environment())
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected
