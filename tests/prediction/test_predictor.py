"""Texts are cut into chunks."""

from trainer.data.columns import Row
from trainer.prediction.inputs import Given
from trainer.prediction.predictor import CHUNK_CHARACTERS, CHUNK_TEXTS, chunks


def test_chunks_are_bounded():
    lengths = [CHUNK_CHARACTERS - 1, 2, 0, CHUNK_CHARACTERS - 2, 1, *[1] * (2 * CHUNK_TEXTS)]
    many = [Given(i, Row({"text": "x" * length}, i, "")) for i, length in enumerate(lengths)]
    found = list(chunks(iter(many)))
    assert [text for chunk in found for text in chunk] == many
    assert [len(chunk) for chunk in found] == [1, 3, CHUNK_TEXTS, CHUNK_TEXTS, 1]
    assert all(sum(text.characters for text in chunk) <= CHUNK_CHARACTERS for chunk in found)
