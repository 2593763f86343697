"""What several tests share: where the recordings are."""

from pathlib import Path

import pytest

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def recordings() -> Path:
    if not RECORDINGS.is_dir():
        pytest.skip(f"the recordings are absent: no folder {RECORDINGS}")
    return RECORDINGS
