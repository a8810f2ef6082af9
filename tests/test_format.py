import pytest

from dlrun import format


@pytest.mark.parametrize(
    ("number", "short", "aligned"),
    [
        (0.93333, "0.9333", "0.9333"),
        (12046.1187, "12,046", "12,046"),
        (-12046.1187, "-12,046", "-12,046"),
        (1.97e-5, "1.97e-05", "1.97e-05"),
        (0.0, "0", "0.0000"),
        (3.2e9, "3.2e+09", "3.2e+09"),
        (float("nan"), "nan", "nan"),
    ],
)
def test_values(number, short, aligned):
    assert format.value(number) == short
    assert format.cell(number) == aligned


@pytest.mark.parametrize(
    ("number", "error", "text"),
    [
        (0.9296, 0.0033, "0.9296 ± 0.0033"),
        (0.9667, 0.0, "0.9667 ± 0.0000"),
        (0.9667, None, "0.9667"),
        (91.5, 7.5, "91.5000 ± 7.5000"),
        (0.5, 1.234e-6, "0.5000 ± 1.2e-06"),
        (12046.1, 1234.5, "12,046 ± 1,234"),
        (12046.1, 0.3, "12,046 ± 0.3"),
        (1.146e-7, 3e-8, "1.146e-07 ± 3e-08"),
    ],
)
def test_means_have_an_error_of_their_decimals(number, error, text):
    assert format.mean(number, error) == text


@pytest.mark.parametrize(
    ("number", "of", "text"),
    [
        (1.25, 2, "1.25"),
        (1.5, 2, "1.5"),
        (20, 20, "20"),
        (2.5882, 20, "2.6"),
        (2.588, 3000, "3"),
        (12345.6, 0, "12346"),
        (100, 0, "100"),
    ],
)
def test_epochs(number, of, text):
    assert format.epoch(number, of) == text


def test_rates():
    assert format.rate(12_345.6) == "12,300 samples/s"
    assert format.rate(2.345) == "2.35 samples/s"
