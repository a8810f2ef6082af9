"""In what recipes differ."""

from dlrun.report.comparison import Change, changes


def test_another_option_is_one_change_whatever_it_brings():
    found = changes(
        [{"optimizer": "sgd"}, {"optimizer": "adam"}],
        [{"optimizer.lr": "0.1", "epochs": "5"}, {"optimizer.lr": "0.001", "optimizer.eps": "1"}],
    )
    assert found == [Change("optimizer", ["sgd", "adam"]), Change("epochs", ["5", ""])]


def test_a_setting_that_is_not_as_its_option_has_it_counts_beside_the_option():
    found = changes(
        [{"optimizer": "sgd"}, {"optimizer": "adam"}],
        [{"optimizer.lr": "0.1"}, {"optimizer.lr": "0.003", "optimizer.eps": "1"}],
        away={"optimizer.lr"},
    )
    assert found == [Change("optimizer", ["sgd", "adam"]), Change("optimizer.lr", ["0.1", "0.003"])]


def test_of_a_group_with_several_each_counts():
    found = changes(
        [{"regularization": "l2, dropout"}, {"regularization": "dropout"}],
        [
            {"regularization.l2.strength": "1", "regularization.dropout.rate": "0.5"},
            {"regularization.dropout.rate": "0.2"},
        ],
        several=("regularization",),
    )
    assert found == [
        Change("regularization=l2", ["yes", "no"]),
        Change("regularization.dropout.rate", ["0.5", "0.2"]),
    ]


def test_one_against_none_is_one_change():
    found = changes(
        [{"metric": "auroc"}, {"metric": "none"}],
        [{"metric.auroc._target_": "auroc"}, {"metric": "{}"}],
        several=("metric",),
    )
    assert found == [Change("metric=auroc", ["yes", "no"])]


def test_nothing():
    assert changes([{"model": "mlp"}] * 2, [{"epochs": "5"}] * 2) == []
