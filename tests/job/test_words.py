import pytest

from dlrun.job.words import lost


@pytest.mark.parametrize(
    ("word", "goes"), [("~regularization.l2", True), ("~regularization.l2.bias", False)]
)
def test_a_rule_that_was_taken_out_does_not_take_out_the_one_that_is_proposed(word, goes):
    assert lost(word, {"regularization": ["l2"]}) is goes
