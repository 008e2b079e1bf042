"""Settings that meet each other in a whole run."""

import pytest
import words

pytestmark = pytest.mark.end_to_end
PAIRS = [(word, i) for i in range(12) for word in ("good", "bad")]


@pytest.mark.long
def test_a_length_that_is_no_multiple_of_8(launch, few):
    few.write(few.train, [(f"{word} film number {i}" * 9, word) for word, i in PAIRS])
    ended = launch(*few.flags, "--config.data.max_length=13")
    assert ended.status == 0, ended.stderr
    assert "padded to 13 tokens" in ended.stderr


@pytest.mark.long
def test_an_encoder_starts_from_an_earlier_run_if_it_is_the_same(launch, few, tmp_path):
    assert launch(*few.flags).status == 0
    first = few.workdir
    few.workdir = tmp_path / "second"
    start = [f"--config.model.initial_run={first}"]
    ended = launch(*few.flags, *start)
    assert ended.status == 0, ended.stderr
    assert "Note: config.tokenizer.vocab_size has no effect with model.initial_run" in ended.stderr
    assert f"parameters start from {first}/best/step-00000004; 2 start afresh" in ended.stderr

    few.workdir = tmp_path / "third"
    ended = launch(*few.flags, *start, "--config.model.heads=4")
    assert ended.status == 2
    assert "has another encoder (heads=2, here 4): set the same" in ended.stderr
    ended = launch(*few.flags, *start, "--config.model.depth=2", "--config.model.norm=pre")
    assert ended.status == 2
    assert "has another encoder (depth=1, here 2; norm='post', here 'pre')" in ended.stderr
    other = few.train.parent / "other"
    words.tokenizer().save_pretrained(other)
    ended = launch(*few.flags, *start, f"--config.tokenizer.pretrained={other}")
    assert ended.status == 2
    assert "has another tokenizer" in ended.stderr
    assert not few.workdir.exists()


@pytest.mark.long
def test_the_config_that_starts_from_the_quickstart(launch, few, tmp_path):
    """configs/transformer_transfer.py, on a few texts and a small model."""
    small = [
        *few.flags[1:],
        "--config.data.source=files",
        "--config.data.validation_share=0.4",
        "--config.model.width=16",
        "--config.model.ffn_width=16",
        "--config.global_batch_size=4",
    ]
    quick = ["--config=configs/quickstart.py", "--config.phases[0].warmup_steps=0"]
    ended = launch(*quick, *small)
    assert ended.status == 0, ended.stderr
    first = few.workdir
    small[0] = f"--workdir={tmp_path / 'second'}"
    ended = launch(
        "--config=configs/transformer_transfer.py",
        *small,
        f"--config.model.initial_run={first}",
        "--config.phases[0].warmup_steps=0",
        "--config.phases[1].warmup_steps=0",
    )
    assert ended.status == 0, ended.stderr
    assert "Phase 'head': 2 steps, 2 of 21 parameters train" in ended.stderr
    assert "Phase 'all':" in ended.stderr
