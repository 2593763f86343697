"""All pictures of one market."""

from squeeze.tools.pictures.book import book_picture
from squeeze.tools.pictures.flow import flow_picture
from squeeze.tools.pictures.funding import funding_picture
from squeeze.tools.pictures.gather import Seen
from squeeze.tools.pictures.interest import interest_picture
from squeeze.tools.pictures.liquidation import liquidation_picture
from squeeze.tools.pictures.panel import Picture
from squeeze.tools.pictures.scales import Scale, utc
from squeeze.tools.pictures.volume import volume_picture


def pictures(seen: Seen, source: str, reach_log: float) -> list[Picture]:
    """Every picture; `source` says where the data are from and stands in each title."""
    scale = Scale.of(seen, reach_log)
    title = f"{seen.symbol}, {source}, {utc(seen.start_ns)} to {utc(seen.end_ns)}"
    return [
        liquidation_picture(seen, scale, title),
        book_picture(seen, scale, title),
        volume_picture(seen, scale, title),
        interest_picture(seen, scale, title),
        funding_picture(seen, title),
        flow_picture(seen, scale, title),
    ]
