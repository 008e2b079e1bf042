"""Docstrings begin as they should, as `make lint` looks at it."""

from docstrings import found, main

SOURCE = '''"""Which rows."""


class Held:
    """Rows that are held."""

    def is_whole(self):
        """Whether it is whole.

        What follows a first line may begin as it likes.
        """

    async def whatever(self):
        """Whatever came."""


def bare(): ...
'''


def test_question_words_are_found_where_a_docstring_begins():
    assert found(SOURCE) == [(1, "Which rows."), (7, "Whether it is whole.")]


def test_the_status_says_if_there_are_any(tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "module.py").write_text(SOURCE)
    assert main([str(tmp_path)]) == 1
    assert f"{tmp_path}/deep/module.py:7: begins with" in capsys.readouterr().out
    (tmp_path / "deep" / "module.py").write_text('"""Rows."""')
    assert main([str(tmp_path)]) == 0
