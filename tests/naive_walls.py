"""The slow, obvious twin of the wall tracker: it keeps all books and steps of an order, and looks at them again."""

import math

import numpy as np

from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.patterns.scene import EXPIRED, FILLED, PULLED, REFILLED, STANDING

NAN = math.nan


def bins(book, side):
    """{absolute bin: USD} of what is covered."""
    return {book.first_bin + i: float(usd) for i, usd in enumerate(book.usd[side]) if not math.isnan(usd)}


def eighth_below(usd):
    """The greatest of 1, 1 1/8, 1 1/4, ... doublings up to an amount; 0 for what is under a dollar and an eighth."""
    doubling = 2.0 ** math.floor(math.log2(usd))
    return math.floor(usd / doubling * 8) / 8 * doubling if usd >= 1.125 else 0.0


class Order:
    def __init__(self, level, book_ns):
        self.level, self.born_ns, self.is_wall = level, book_ns, False
        self.books, self.steps, self.trades, self.beyond = [], [], [], [0.0]


class NaiveWalls:
    def __init__(self, spec, bin_log, venues):
        self.spec, self.bin_log, self.closed_ns = spec, bin_log, None
        self.book_ns = [-math.inf] * venues
        self.notes = [[] for _ in range(venues)]
        self.seconds = [0.0] * venues
        self.usual = [[0.0, 0.0] for _ in range(venues)]
        self.orders = [([None] * spec.walls_per_side, [None] * spec.walls_per_side) for _ in range(venues)]
        self.pulls = [([], []) for _ in range(venues)]

    def step(self, books, mark, close_ns, step_ns):
        missing = self.closed_ns is not None and close_ns - self.closed_ns > step_ns
        out = []
        for venue, book in enumerate(books):
            newer = book.shown and book.book_ns > self.book_ns[venue]
            seen_seconds = sum(s for _, s, _ in self.notes[venue])
            judging = newer and seen_seconds >= self.spec.least_history_minutes * 60
            for side in (0, 1):
                least = self.least(venue, side, book, mark.close) if judging else math.inf
                for slot, order in enumerate(self.orders[venue][side]):
                    if order is not None:
                        row = self.follow(order, venue, side, book, newer, missing, least, mark, close_ns, step_ns)
                        if order.is_wall:
                            out.append(row)
                        if row["ended_ns"]:
                            self.orders[venue][side][slot] = None
                if judging:
                    self.look(venue, side, book, least, mark.close, close_ns)
            if book.shown:
                self.seconds[venue] += step_ns / SECOND_NS
                if self.seconds[venue] >= 10:
                    self.note(venue, book, mark.close, close_ns)
            if newer:
                self.book_ns[venue] = book.book_ns
        self.closed_ns = close_ns
        return out

    def faded(self, at_ns, close_ns):
        return math.exp(-(close_ns - at_ns) / (self.spec.memory_hours * HOUR_NS))

    def ahead(self, book, side, mark, reach_log):
        """USD by bin outward from the mark, nearest first."""
        here, covered = math.floor(math.log(mark) / self.bin_log), bins(book, side)
        outward = [here + (i if side else -i) for i in range(round(reach_log / self.bin_log))]
        return [(level, covered[level]) for level in outward if covered.get(level, 0) > 0]

    def least(self, venue, side, book, mark):
        near = sorted(usd for s in (0, 1) for _, usd in self.ahead(book, s, mark, self.spec.near_log))
        median = near[len(near) // 2] if near else 0.0
        return max(self.spec.median_multiple * median, self.usual[venue][side], self.spec.floor_usd)

    def note(self, venue, book, mark, close_ns):
        held = [[usd for _, usd in self.ahead(book, side, mark, self.spec.reach_log)] for side in (0, 1)]
        self.notes[venue].append((close_ns, self.seconds[venue], held))
        self.seconds[venue] = 0.0
        for side in (0, 1):
            weighed = [(u, s * self.faded(at, close_ns)) for at, s, both in self.notes[venue] for u in both[side]]
            total, above = sum(w for _, w in weighed), 0.0
            self.usual[venue][side] = 0.0
            for usd, weight in sorted(weighed, reverse=True):
                above += weight
                if above > (1 - self.spec.quantile) * total:
                    self.usual[venue][side] = eighth_below(usd)
                    break

    def look(self, venue, side, book, least, mark, close_ns):
        orders = self.orders[venue][side]
        for level, usd in self.ahead(book, side, mark, self.spec.reach_log):
            if usd >= least and level not in [o.level for o in orders if o] and None in orders:
                order = Order(level, book.book_ns)
                order.books.append((book.book_ns, usd))
                order.steps.append((close_ns, self.distance(side, level, mark), usd))
                orders[orders.index(None)] = order

    def distance(self, side, level, mark):
        return ((level + 0.5) * self.bin_log - math.log(mark)) * (1 if side else -1)

    def follow(self, order, venue, side, book, newer, missing, least, mark, close_ns, step_ns):
        spec, level, w = self.spec, order.level, self.bin_log
        traded = NAN
        if book.traded_known and not missing:
            i, row = level - book.traded_first_bin, book.traded_base[1 - side]
            traded = float(row[i]) * math.exp((level + 0.5) * w) if 0 <= i < len(row) else 0.0
        order.trades.append((close_ns, traded))
        beyond = math.log(mark.high) - (level + 1) * w if side else level * w - math.log(mark.low)
        order.beyond.append(NAN if missing else beyond)
        shows = bins(book, side).get(level, NAN) if book.shown else NAN
        seen = newer and not math.isnan(shows)
        if seen:
            order.books.append((book.book_ns, shows))
            order.steps.append((close_ns, self.distance(side, level, mark.close), shows))
        peak, all_traded = max(usd for _, usd in order.books), sum(t for _, t in order.trades)
        outcome = STANDING
        if not seen:
            if close_ns - order.books[-1][0] > spec.expire_minutes * MINUTE_NS + step_ns:
                outcome = EXPIRED
        elif not order.is_wall and shows < least:
            outcome = EXPIRED
        elif order.is_wall or book.book_ns - order.born_ns >= spec.least_life_seconds * SECOND_NS:
            order.is_wall = True
            if (peak - shows) / peak >= spec.pulled_share:
                share = all_traded / peak
                outcome = EXPIRED
                outcome = FILLED if share >= spec.filled_traded_share else outcome
                outcome = PULLED if share <= spec.pulled_traded_share else outcome
            elif all_traded > peak:
                outcome = REFILLED
        if outcome == PULLED:
            self.pulls[venue][side].append((level, close_ns))
        lately = [t for at, t in order.trades if at > close_ns - MINUTE_NS]
        recent = [(at, abs(b - level)) for b, at in self.pulls[venue][side][-32:] if at > close_ns - HOUR_NS]
        return {
            "side": side,
            "venue": venue,
            "bin": level,
            "distance_log": self.distance(side, level, mark.close),
            "usd": shows,
            "peak_usd": peak,
            "traded_usd": all_traded,
            "traded_60s_usd": sum(lately) if step_ns <= MINUTE_NS else NAN,
            "moved_beyond_log": NAN if any(math.isnan(b) for b in order.beyond) else max(order.beyond),
            "born_ns": order.born_ns,
            "seen_ns": order.books[-1][0],
            "pulls_1h": sum(apart <= spec.level_bins for _, apart in recent),
            "pull_elasticity": self.elasticity(order, close_ns),
            "outcome": outcome,
            "ended_ns": 0 if outcome in (STANDING, REFILLED) else close_ns,
        }

    def elasticity(self, order, close_ns):
        points, peak = [], 0.0
        for at, distance, usd in order.steps:
            peak = max(peak, usd)
            if at > close_ns - MINUTE_NS and 0 < distance <= self.spec.elasticity_log:
                points.append((math.log(distance), math.log(max(usd, 1e-3 * peak))))
        if len(points) < 3 or np.ptp([x for x, _ in points]) < 1e-5:
            return NAN
        return np.polyfit(*np.array(points).T, 1)[0]
