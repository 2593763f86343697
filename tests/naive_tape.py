"""The tape once more, slow and obvious: everything is worked out anew from the list of all events at each look."""

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np

from squeeze.market.events import SECOND_NS, Feed, Gap, Liquidation, OpenInterest, Price, Quote, Trade

NAN = math.nan


def second_of(event):
    return -(-event.known_at_ns // SECOND_NS)


def facts(events, now_ns, looked_ns, venue="bybit"):
    """What `Tape.facts` says at `now_ns` of ticks, trades, quotes, prints and stamps of one venue, after a look at
    `looked_ns`."""
    known = sorted((e for e in events if e.known_at_ns <= now_ns), key=lambda e: e.known_at_ns)
    known = [e for e in known if e.venue == venue]
    last = -(-now_ns // SECOND_NS)
    told = {}
    marks = newer([e for e in known if isinstance(e, Price) and e.of == "mark"])
    told |= prices(marks, last, now_ns, looked_ns)
    told |= flow(known, last, now_ns // SECOND_NS)
    told |= prints(known, last)
    told |= quotes(known, last)
    stamps = newer([e for e in known if isinstance(e, OpenInterest)], ties=False)
    told["open_interest_base"] = stamps[-1].open_interest_base if stamps else NAN
    hour_ago = [e for e in stamps if second_of(e) <= (last // 60 - 60) * 60]
    told["open_interest_change_1h"] = (
        told["open_interest_base"] / hour_ago[-1].open_interest_base - 1 if hour_ago else NAN
    )
    return told


def newer(events, ties=True):
    """Without what is older than something that was known before it."""
    kept, newest = [], 0
    for event in events:
        if event.event_ns > newest or (ties and event.event_ns == newest):
            kept.append(event)
            newest = event.event_ns
    return kept


def prices(marks, last, now_ns, looked_ns):
    names = "mark mark_low mark_high velocity_log sigma_1m_log atr_5m_log range_3m_log return_4h_log"
    told = dict.fromkeys(names.split(), NAN)
    if not marks:
        return told
    told["mark"] = marks[-1].price
    since = [e.price for e in marks if e.known_at_ns > looked_ns]
    before = [e.price for e in marks if e.known_at_ns <= looked_ns][-1:]
    told["mark_low"], told["mark_high"] = min(since + before), max(since + before)
    heard = defaultdict(list)
    for e in marks:
        heard[second_of(e)].append(math.log(e.price))
    closed = [s for s in sorted(heard) if s * SECOND_NS <= now_ns]
    velocity = NAN
    for earlier, later in pairwise(closed):
        minutes = (later - earlier) / 60
        kept = 0.5 ** (2 * minutes)
        velocity = kept * (0.0 if math.isnan(velocity) else velocity)
        velocity += (1 - kept) * (heard[later][-1] - heard[earlier][-1]) / minutes
    told["velocity_log"] = velocity

    def at(second):
        upto = [s for s in heard if s <= second]
        return heard[max(upto)][-1] if upto else NAN

    variance = weight = 0.0
    returned = 0
    ended = now_ns // SECOND_NS // 60
    for minute in range(closed[0] // 60 if closed else ended + 1, ended + 1):
        second = minute * 60
        if any(returned < s <= second for s in closed):
            if returned:
                minutes = minute - returned // 60
                kept = 0.5 ** (minutes / 60)
                variance = kept * variance + (at(second) - at(returned)) ** 2
                weight = kept * weight + minutes
            returned = second
    told["sigma_1m_log"] = math.sqrt(variance / weight) if weight >= 10 else NAN
    told["atr_5m_log"] = true_range(heard, 300, now_ns // SECOND_NS)
    if not math.isnan(at(last - 179)):
        inside = [p for s in range(last - 179, last + 1) for p in heard.get(s, [at(s)])]
        told["range_3m_log"] = max(inside) - min(inside)
    told["return_4h_log"] = math.log(told["mark"]) - at((last // 60 - 240) * 60)
    return told


def true_range(heard, length, until):
    """Mean of the last 14 whole bars; the one that the first mark falls into is not whole."""
    first = -(-(min(heard)) // length) * length  # end of the bar with the first mark
    ranges = []
    for end in range(first + length, until // length * length + 1, length):
        inside = [p for s in range(end - length + 1, end + 1) for p in heard.get(s, [])]
        if not inside:
            continue
        before = [s for s in heard if end - 2 * length < s <= end - length]
        inside += [heard[max(before)][-1]] if before else []
        ranges.append(max(inside) - min(inside))
    return sum(ranges[-14:]) / 14 if len(ranges) >= 14 else NAN


def flow(known, last, closed):
    """Seconds are zero from the first trade on, and not known in a hole."""
    by_second = {name: defaultdict(float) for name in ("volume", "buys", "sells")}
    lost, first = set(), None
    reset = 0
    for place, e in enumerate(known):
        if isinstance(e, Trade) and e.known_at_ns - e.event_ns <= 60 * SECOND_NS:
            first = second_of(e) if first is None else first
            for name in ("volume", "buys" if e.taker_buys else "sells"):
                by_second[name][second_of(e)] += e.price * e.size_base
        if isinstance(e, Gap) and e.feed != Feed.BOOK and first is not None:
            lost |= set(range(-(-e.event_ns // SECOND_NS), second_of(e) + 1))
            reset = place
    names = ("volume_60s_usd", "taker_buys_10s_usd", "taker_sells_10s_usd", "volume_minute_usd", "taker_imbalance")
    if first is None:
        return dict.fromkeys(names, NAN)

    def total(name, seconds):
        inside = range(last - seconds + 1, last + 1)
        return NAN if inside[0] < first or lost & set(inside) else sum(by_second[name][s] for s in inside)

    hour = [s for s in range(max(first, last - 3599), last + 1) if s not in lost]
    both = {True: 0.0, False: 0.0}
    for e in known[reset:]:
        if second_of(e) <= closed and isinstance(e, Trade) and e.known_at_ns - e.event_ns <= 60 * SECOND_NS:
            both[e.taker_buys] += e.price * e.size_base * 0.5 ** ((closed - second_of(e)) / 30)
    buys, sells = both[True], both[False]
    return {
        "volume_60s_usd": total("volume", 60),
        "taker_buys_10s_usd": total("buys", 10),
        "taker_sells_10s_usd": total("sells", 10),
        "volume_minute_usd": 60 * sum(by_second["volume"][s] for s in hour) / len(hour) if len(hour) >= 600 else NAN,
        "taker_imbalance": (buys - sells) / (buys + sells) if buys + sells > 1e-9 else NAN,
    }


def prints(known, last):
    """Seconds are zero from the first word of the venue on."""
    told = {}
    heard = [e for e in known if not isinstance(e, Gap)]
    first = second_of(heard[0]) if heard else None
    lost = set()
    for e in known:
        if isinstance(e, Gap) and e.feed == Feed.ALL and heard and heard[0].known_at_ns <= e.known_at_ns:
            lost |= set(range(-(-e.event_ns // SECOND_NS), second_of(e) + 1))
    found = [e for e in known if isinstance(e, Liquidation) and e.known_at_ns - e.event_ns <= 60 * SECOND_NS]
    for seconds in (10, 60):
        inside = range(last - seconds + 1, last + 1)
        is_known = first is not None and inside[0] >= first and not lost & set(inside)
        own = [[e for e in found if e.side == side and second_of(e) in inside] for side in (0, 1)]
        told[f"liquidated_{seconds}s_usd"] = tuple(sum(e.usd for e in o) if is_known else NAN for o in own)
        told[f"prints_{seconds}s"] = tuple(float(len(o)) if is_known else NAN for o in own)
    return told


def quotes(known, last):
    """Of quotes alone; a hole in books is one in quotes."""
    spreads, worst, spread = {}, {}, NAN
    events = [e for e in known if (isinstance(e, Gap) and e.feed != Feed.TRADES) or isinstance(e, Quote)]
    newest, at = 0, 0
    if not known:
        return {"spread_bp": NAN, "spread_worst_30s_bp": NAN, "spread_median_60m_bp": NAN}
    for second in range(second_of(known[0]), last + 1):
        inside = [spread]
        while at < len(events) and second_of(events[at]) <= second:
            e, at = events[at], at + 1
            if isinstance(e, Gap):
                spread = NAN
            elif e.event_ns >= newest:
                newest = e.event_ns
                spread = 2e4 * (e.ask - e.bid) / (e.ask + e.bid)
            else:
                continue
            inside.append(spread)
        spreads[second] = spread
        worst[second] = NAN if any(map(math.isnan, inside)) else max(inside)
    recent = [worst.get(s, NAN) for s in range(last - 29, last + 1)]
    end = last // 10 * 10
    hour = [spreads.get(s, NAN) for s in range(end - 3599, end + 1)]
    hour = [value for value in hour if not math.isnan(value)]
    return {
        "spread_bp": spread,
        "spread_worst_30s_bp": NAN if any(map(math.isnan, recent)) else max(recent),
        "spread_median_60m_bp": float(np.median(hour)) if len(hour) >= 600 else NAN,
    }
