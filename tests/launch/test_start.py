"""A start leaves alone the libraries that only some runs need."""

NEEDLESS = ("transformers", "huggingface_hub.hf_api", "pandas", "pyarrow", "jinja2", "kubernetes")


def test_a_run_from_scratch_imports_no_more_than_it_needs(finished):
    imported = finished.with_suffix(".modules").read_text(encoding="utf-8").split()
    assert {"tensorflow", "keras", "tokenizers", "trainer.loop"} <= {*imported}
    assert not {*NEEDLESS} & {*imported}
