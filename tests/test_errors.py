"""Messages that fit a line and a terminal."""

from trainer.errors import one_line, printable, shown


def test_one_line_keeps_the_beginning_and_the_end():
    text = one_line("file x.csv has no column: " + "word " * 20_000 + "name one of them")
    assert text.startswith("file x.csv has no column: word")
    assert text.endswith("name one of them")
    assert "99,0" in text.partition("… (")[2][:8]
    assert len(text) < 1060


def test_one_line_escapes_what_a_terminal_would_obey():
    assert one_line("a  b\n  c\r\n\x1b[2J\x07 ü \udcff") == "a  b c \\x1b[2J\\x07 ü \\udcff"
    assert printable("a\nb\x9b\u202e") == "a\nb\\x9b\\u202e"


def test_shown_of_any_value():
    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    assert shown("8") == "'8'"
    assert shown(10**5000) == "a value of type int that is too long to show"
    assert shown(Odd()) == "a value of type Odd that is too long to show"
    assert shown("é\n" * 10**6) == "'" + "é\\n" * 40 + "'…"
    assert shown("\ud800") == r"'\ud800'"
    assert len(shown(["x" * 1000] * 1000)) < 100
