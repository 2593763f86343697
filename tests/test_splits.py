import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.errors import DataError
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.spec import LabelSpec
from training.config import SplitSpec
from training.splits import blocks


def label_of(horizon):
    return LabelSpec(name="l", threshold_usd=1.0, horizons_minutes=(horizon,), every_minutes=5, recorded="rows")


@given(
    gaps=st.lists(st.integers(1, 100), min_size=30, max_size=120),
    count=st.integers(1, 5),
    share=st.floats(0.2, 0.9),
    horizon=st.sampled_from([5, 60]),
    purge=st.sampled_from([0, 60]),
)
def test_blocks_tile_the_tail_and_train_on_what_was_over_before_them(gaps, count, share, horizon, purge):
    ts = np.cumsum(gaps) * 5 * MINUTE_NS
    found = blocks(ts, label_of(horizon), SplitSpec(blocks=count, test_share=share, purge_minutes=purge))
    tested = [np.flatnonzero(b.tests(ts)) for b in found]
    assert np.concatenate(tested).tolist() == list(
        range(int(len(ts) * np.linspace(1 - share, 1, count + 1)[0]), len(ts))
    )
    for block, rows in zip(found, tested, strict=True):
        begin = ts[rows[0]]
        allowed = ts + (horizon + purge) * MINUTE_NS <= begin
        assert (block.trains(ts) == allowed).all()


def test_a_later_block_trains_on_all_that_an_earlier_one_did():
    ts = np.arange(100) * HOUR_NS
    found = blocks(ts, label_of(60), SplitSpec())
    counts = [int(b.trains(ts).sum()) for b in found]
    assert counts == [39, 51, 63, 75, 87]  # each begins 1 + 1 hours after its last training row


def test_fewer_rows_than_blocks_is_an_error():
    with pytest.raises(DataError, match="3 rows are too few for 5 blocks"):
        blocks(np.arange(3) * HOUR_NS, label_of(60), SplitSpec())
