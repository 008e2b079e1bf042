"""Reads /proc/cpuinfo and control groups."""

import platform

import pytest

from trainer.runtime import processor

ZEN_3 = "model name\t: AMD EPYC 7763\nflags\t\t: fpu avx2 sha_ni\n\nprocessor\t: 1\n"
ZEN_5 = "model name\t: AMD EPYC 9555\nflags\t\t: fpu avx512_bf16 avx_vnni\n"
XEON = "model name\t: Intel(R) Xeon(R)\nflags\t\t: fpu amx_bf16 amx_tile\n"
GRAVITON = "BogoMIPS\t: 2100.00\nFeatures\t: fp asimd bf16 i8mm\n"
OLDER_ARM = "BogoMIPS\t: 2100.00\nFeatures\t: fp asimd sbf16x\n"


@pytest.mark.parametrize(
    ("about", "has"),
    [(ZEN_3, False), (ZEN_5, True), (XEON, True), (GRAVITON, True), (OLDER_ARM, False), ("", None)],
)
def test_bfloat16_is_read_from_the_flags(about, has, tmp_path):
    (tmp_path / "cpuinfo").write_text(about)
    assert processor.has_bfloat16(tmp_path / "cpuinfo") is has


def test_the_name_is_the_model_or_what_python_says(tmp_path):
    (tmp_path / "cpuinfo").write_text(ZEN_5)
    assert processor.name(tmp_path / "cpuinfo") == "AMD EPYC 9555"
    assert processor.name(tmp_path / "not there") == platform.processor()
    assert processor.has_bfloat16(tmp_path / "not there") is None


def test_a_container_has_the_memory_that_it_may_use(tmp_path):
    limit = tmp_path / "memory.max"
    whole = processor.memory(limit)
    for text, bytes_ in (("max\n", whole), (f"{2**30}\n", 2**30), (f"{2**60}\n", whole)):
        limit.write_text(text)
        assert processor.memory(limit) == bytes_
