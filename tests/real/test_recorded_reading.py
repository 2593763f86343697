"""A read of recorded BTC, long before the first test block: what is there is read, what is not is said."""

from pathlib import Path

import msgspec
import pytest

from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake
from squeeze.signals.checklist import answers
from squeeze.strict import utc_ns
from squeeze.tools.reading.figure import figure
from squeeze.tools.reading.gather import recorded
from squeeze.tools.reading.market import spec_of
from squeeze.tools.reading.profile import PROFILES, profiled
from squeeze.tools.reading.read import answered

pytestmark = pytest.mark.real
MAPPING = Path(__file__).resolve().parents[2] / "configs" / "import" / "btc-2026.yaml"


def test_a_swing_read_of_recorded_btc_says_what_is_there_and_what_is_not(recordings, tmp_path):
    lake, profile = Lake(tmp_path), PROFILES["swing"]
    import_mapping(MAPPING, recordings, lake)
    at_ns, start_ns = utc_ns("2025-12-20"), utc_ns("2025-12-11")
    spec = profiled(spec_of(None, "BTCUSDT", lake, profile, at_ns), profile)
    reading = recorded(lake, spec, profile, at_ns, start_ns, utc_ns("2025-12-19"))
    steps = answered(reading).steps
    assert [step.step for step in steps] == list(range(1, 10))
    assert steps[0].not_recorded == ()
    assert steps[2].not_recorded == ("order book",)
    assert steps[2].numbers["mark"] == pytest.approx(88_100, rel=1e-3)
    assert steps[7].numbers["funding_8h"] == pytest.approx(1e-4)
    assert steps[5].not_recorded == ()
    assert any("mark is last" in warning for warning in steps[1].warnings)
    assert figure(reading).grid[0][0] is not None
    verdicts = [one["verdict"] for one in answers(reading.scene, 0, -1, 86_000.0, reading.since)]
    assert verdicts[1] == "unknown", "no book was recorded"
    assert all(verdict != "unknown" for number, verdict in enumerate(verdicts) if number != 1)
    assert msgspec.json.decode(msgspec.json.encode(answered(reading)))["symbol"] == "BTCUSDT"
