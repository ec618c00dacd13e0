"""What a precision needs from the processor."""

from pathlib import Path

import pytest

from detection.precision import Precision, lacking, processor_features, processor_name

X86 = """\
processor\t: 0
model name\t: A Processor @ 2 GHz
flags\t\t: fpu sse2 avx512_vnni avx512_bf16

processor\t: 1
flags\t\t: another
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\n"


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Path:
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (X86, {"fpu", "sse2", "avx512_vnni", "avx512_bf16"}),
        (ARM, {"fp", "asimd", "asimddp"}),
        ("nothing of the kind\n", set()),
    ],
)
def test_the_features_are_those_of_the_first_core(
    cpuinfo: Path, text: str, features: set[str]
) -> None:
    cpuinfo.write_text(text)
    assert processor_features(cpuinfo) == features


def test_a_system_without_the_list_has_no_features(cpuinfo: Path) -> None:
    assert processor_features(cpuinfo) == frozenset()


def test_the_processor_has_its_models_name_or_its_kind(cpuinfo: Path) -> None:
    cpuinfo.write_text(X86)
    assert processor_name(cpuinfo) == "A Processor @ 2 GHz"
    cpuinfo.write_text(ARM)
    assert processor_name(cpuinfo) != ""


@pytest.mark.parametrize(
    ("precision", "features"),
    [
        (Precision.FLOAT32, frozenset[str]()),
        (Precision.BFLOAT16, frozenset({"avx512_bf16"})),
        (Precision.BFLOAT16, frozenset({"sse2", "amx_bf16"})),
        (Precision.INT8, frozenset({"avx_vnni"})),
        (Precision.INT8, frozenset({"asimddp"})),
    ],
)
def test_one_of_the_features_is_enough(precision: Precision, features: frozenset[str]) -> None:
    assert lacking(precision, features) is None


def test_a_processor_without_any_of_them_lacks_them() -> None:
    assert lacking(Precision.BFLOAT16, frozenset({"avx2"})) == (
        "bfloat16 needs a processor with amx_bf16 or avx512_bf16, and this one has none of them"
    )


def test_an_unknown_processor_is_not_trusted() -> None:
    assert "does not list its flags" in str(lacking(Precision.INT8, frozenset()))
