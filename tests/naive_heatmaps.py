"""Slow, obvious twins of the heatmaps: they keep every record and look at all of them again whenever they are asked."""

import math
from collections import defaultdict

import numpy as np

from squeeze.market.events import HOUR_NS, MINUTE_NS, Feed, Quality

NAN = math.nan


def by_bin(part, bin_log):
    """{bin: (buys, sells)} of a step and whether the takers are known; None if nothing was recorded."""
    if part.flow is not None:
        pairs = zip(part.flow.buys_base, part.flow.sells_base, strict=True)
        return {part.flow.first_bin + i: pair for i, pair in enumerate(pairs)}, True
    if part.volume_base == 0:
        return {}, True
    if math.isnan(part.volume_base) or part.last is None:
        return None
    known = not math.isnan(part.taker_buy_base)
    buys = part.taker_buy_base if known else part.volume_base / 2
    low, high = math.log(part.last.low) / bin_log, math.log(part.last.high) / bin_log
    shares = {}
    for j in range(math.floor(low), math.floor(high) + 1):
        shares[j] = (min(high, j + 1) - max(low, j)) / (high - low) if math.floor(high) > math.floor(low) else 1.0
    return {j: (buys * s, (part.volume_base - buys) * s) for j, s in shares.items()}, known


def holed(part):
    return bool(part.quality & Quality.PARTIAL) or any(g.feed in (Feed.ALL, Feed.TRADES) for g in part.gaps)


def pooled(cells, mark, bin_log, width_log, bins):
    """(side, price) of {bin: amount}: each bin spread evenly over itself."""
    here, width = math.log(mark) / bin_log, width_log / bin_log
    out = np.zeros((2, bins))
    for side, sign in ((0, -1), (1, 1)):
        for i in range(bins):
            low, high = sorted((here + sign * width * i, here + sign * width * (i + 1)))
            for j in range(math.floor(low), math.floor(high) + 1):
                out[side, i] += cells.get(j, 0.0) * max(0.0, min(high, j + 1) - max(low, j))
    return out


class Windows:
    """Which records are inside a window of which only whole parts are forgotten."""

    def __init__(self, hours, slots):
        self.slots = slots
        self.slot_ns = round(hours * HOUR_NS) // slots

    def holds(self, at_ns, now_ns):
        return (now_ns - 1) // self.slot_ns - (at_ns - 1) // self.slot_ns < self.slots


class NaiveVolumeProfile:
    def __init__(self, spec):
        self.spec, self.taken, self.whole, self.now = spec, [], [], 0

    def step(self, part, mark, close_ns):
        self.now, found = close_ns, by_bin(part, self.spec.bin_log)
        if found is None:
            return
        for j, (buys, sells) in found[0].items():
            price = math.exp((j + 0.5) * self.spec.bin_log) if self.spec.unit == "usd" else 1.0
            self.taken.append((close_ns, j, (buys + sells) * price))
        if not holed(part):
            self.whole.append(close_ns)

    def volume(self, hours):
        window, cells = Windows(hours, self.spec.slots), defaultdict(float)
        for at, j, volume in self.taken:
            if window.holds(at, self.now):
                cells[j] += volume
        return cells

    def outward(self, mark, width_log, bins):
        out = np.full((2, len(self.spec.windows_hours), bins), NAN)
        for w, hours in enumerate(self.spec.windows_hours):
            window = Windows(hours, self.spec.slots)
            if any(window.holds(at, self.now) for at in self.whole):
                out[:, w] = pooled(self.volume(hours), mark, self.spec.bin_log, width_log, bins)
        return out


class NaiveOpenInterest:
    def __init__(self, spec):
        self.spec, self.now = spec, 0
        self.base = self.mark = NAN
        self.newest = 0
        self.pending = defaultdict(float)
        self.heard = False
        self.opened, self.changes, self.whole = [], [], []

    def step(self, part, mark, close_ns):
        self.now, found = close_ns, by_bin(part, self.spec.bin_log)
        if found is not None:
            self.heard = True
            for j, pair in found[0].items():
                self.pending[j] += sum(pair)
        stamps = [s for s in part.open_interest if s.open_interest_base > 0 and s.event_ns > self.newest]
        if not stamps:
            return
        stamp = max(stamps, key=lambda s: s.event_ns)
        self.newest = stamp.event_ns
        volume, change = sum(self.pending.values()), stamp.open_interest_base - self.base
        if abs(change) < self.spec.jump_share * self.base and volume > 0:  # false before the first
            churn = self.spec.turnover * max(volume - abs(change), 0.0) / 2
            left = 1 - min(0.9, (max(-change, 0.0) + churn) / self.base)
            self.opened = [(at, j, coins * left) for at, j, coins in self.opened]
            up = 1.0 if mark.close > self.mark else 0.5 if mark.close == self.mark else 0.0
            for j, traded in self.pending.items():
                share = traded / volume
                self.opened.append((close_ns, j, (max(change, 0.0) + churn) * share))
                self.changes.append((close_ns, j, change * share, up))
            if self.heard:
                self.whole.append(close_ns)
        self.pending, self.heard = defaultdict(float), False
        self.base, self.mark = stamp.open_interest_base, mark.close

    def outward(self, mark, width_log, bins):
        spec = self.spec
        out = np.full((2, len(spec.windows_hours), 6, bins), NAN)
        for w, hours in enumerate(spec.windows_hours):
            window = Windows(hours, spec.slots)
            if not any(window.holds(at, self.now) for at in self.whole):
                continue
            rows = [defaultdict(float) for _ in range(6)]  # opened, net, up opened, down opened, up closed, down closed
            for at, j, coins in self.opened:
                rows[0][j] += coins if window.holds(at, self.now) else 0.0
            for at, j, change, up in self.changes:
                if window.holds(at, self.now):
                    rows[1][j] += change
                    rows[2 if change > 0 else 4][j] += abs(change) * up
                    rows[3 if change > 0 else 5][j] += abs(change) * (1 - up)
            for side, order in ((0, (0, 1, 3, 2, 5, 4)), (1, range(6))):
                for channel, row in enumerate(order):
                    out[side, w, channel] = pooled(rows[row], mark, spec.bin_log, width_log, bins)[side]
        return out.reshape(2, -1, bins)


class NaiveFunding:
    """Every rate as (kind, venue, event, hour, f8); intervals read off the records themselves."""

    def __init__(self, spec):
        self.spec, self.now, self.rates = spec, 0, []
        self.said = {}

    def step(self, parts, mark, close_ns):
        self.now = close_ns
        for venue in self.spec.venues:
            part = parts.get(venue)
            for record in part.funding if part else ():
                last = self.newest(0, venue)
                if last and record.event_ns <= last[2]:
                    continue
                hours = record.interval_hours
                if math.isnan(hours):
                    hours = self.said.get(venue, NAN)
                if math.isnan(hours) and last and (record.event_ns - last[2]) % HOUR_NS == 0:
                    apart = (record.event_ns - last[2]) // HOUR_NS
                    hours = apart if apart <= self.spec.longest_interval_hours else NAN
                self.add(0, venue, record, hours, min((record.event_ns - 1) // HOUR_NS, (close_ns - 1) // HOUR_NS))
            forecast = part.forecast if part else None
            last = self.newest(1, venue)
            if forecast is not None and not (last and forecast.event_ns <= last[2]):
                hours = forecast.interval_hours
                if math.isnan(hours):
                    settled = [r for r in self.rates if r[:2] == (0, venue) and not math.isnan(r[5])]
                    hours = settled[-1][5] if settled else NAN
                else:
                    self.said[venue] = hours
                self.add(1, venue, forecast, hours, (close_ns - 1) // HOUR_NS)

    def add(self, kind, venue, record, hours, hour):
        self.rates.append((kind, venue, record.event_ns, hour, record.funding_rate * 8 / hours, hours))

    def newest(self, kind, venue):
        own = [r for r in self.rates if r[:2] == (kind, venue)]
        return own[-1] if own else None

    def matrix(self, kind, hours):
        out, last = np.full((len(self.spec.venues), hours), NAN), (self.now - 1) // HOUR_NS
        for of, venue, _, hour, rate, _ in self.rates:
            if of == kind and hour > last - hours:
                out[self.spec.venues.index(venue), hour - last + hours - 1] = rate
        return out

    def outward(self, mark, width_log, bins):
        rows = []
        for kind in (0, 1):
            for venue in self.spec.venues:
                last = self.newest(kind, venue)
                fresh = last is not None and self.now - last[2] <= self.spec.stale_minutes[kind] * MINUTE_NS
                rows.append(last[4] if fresh else NAN)
        return np.array([[[r] * bins for r in rows], [[-r] * bins for r in rows]])


class NaiveOrderBook:
    def __init__(self, spec):
        self.spec, self.book, self.now = spec, None, 0

    def step(self, part, mark, close_ns):
        self.now = close_ns
        self.book = part.book or self.book

    def outward(self, mark, width_log, bins):
        out = np.full((2, 1, bins), NAN)
        if self.book is None or self.now - self.book.event_ns > self.spec.stale_seconds * 1e9:
            return out
        ratio = round(self.spec.bin_log / self.book.bin_log)
        covered = range(self.book.first_bin + 1, self.book.first_bin + len(self.book.bids_usd) - 1)
        for side, usd in enumerate((self.book.bids_usd, self.book.asks_usd)):
            cells = {}
            for j in range(covered.start // ratio, covered.stop // ratio + 1):
                fine = range(j * ratio, (j + 1) * ratio)
                whole = all(f in covered for f in fine)
                cells[j] = sum(usd[f - self.book.first_bin] for f in fine) if whole else NAN
            here, width, sign = math.log(mark) / self.spec.bin_log, width_log / self.spec.bin_log, (-1, 1)[side]
            for i in range(bins):
                low, high = sorted((here + sign * width * i, here + sign * width * (i + 1)))
                parts = [
                    cells.get(j, NAN) * (min(high, j + 1) - max(low, j))
                    for j in range(math.floor(low), math.ceil(high))
                ]
                out[side, 0, i] = sum(parts)
        return out


class NaiveStops:
    def __init__(self, spec):
        self.spec, self.now, self.ranges = spec, 0, []

    def step(self, part, mark, close_ns):
        self.now = close_ns
        if part.last is not None:
            self.ranges.append((close_ns, part.last.low, part.last.high))

    def extremes(self, hours):
        """(low, its age) and (high, its age) of a window; None without a price in it."""
        window = Windows(hours, self.spec.slots)
        held = [r for r in self.ranges if window.holds(r[0], self.now)]
        if not held:
            return None
        low, high = min(r[1] for r in held), max(r[2] for r in held)
        return (
            (low, self.now - max(r[0] for r in held if r[1] == low)),
            (high, self.now - max(r[0] for r in held if r[2] == high)),
        )

    def levels(self, mark):
        """Round numbers and extremes as [(price, weight)], extremes by side."""
        spec, rounds = self.spec, []
        far = math.exp(spec.reach_log + 20 * spec.beyond_log)
        for k in range(-12, 12):
            for m in (1, 2, 5):
                step = m * 10.0**k
                if spec.least_step * mark <= step <= spec.most_step * mark:
                    rounds += [
                        (n * step, 1 / n)
                        for n in range(1, int(mark * far / step) + 2)
                        if mark / far <= n * step <= mark * far
                    ]
        found = [(self.extremes(h), h) for h in spec.windows_hours]
        sides = [[(e[s][0], math.exp(-e[s][1] / (h * HOUR_NS))) for e, h in found if e] for s in (0, 1)]
        return rounds, sides

    def outward(self, mark, width_log, bins):
        spec, out = self.spec, np.full((2, 1, bins), NAN)
        if not self.ranges or self.now - self.ranges[-1][0] > spec.stale_minutes * MINUTE_NS:
            return out
        rounds, sides = self.levels(mark)

        def density(levels, side, low, high):
            total = 0.0
            for price, weight in levels:
                d = math.log(price / mark) * (1 if side else -1)
                if -20 * spec.beyond_log < d < spec.reach_log:
                    gone = [math.exp(-max(x - d, 0.0) / spec.beyond_log) for x in (low, high)]
                    total += weight * (gone[0] - gone[1])
            return total

        for side in (0, 1):
            families = [(spec.round_weight, rounds), (1 - spec.round_weight, sides[side])]
            wholes = [density(levels, side, 0.0, spec.reach_log) for _, levels in families]
            present = sum(share for (share, _), whole in zip(families, wholes, strict=True) if whole > 0)
            for i in range(bins):
                if (i + 1) * width_log <= spec.reach_log * (1 + 1e-9) and present > 0:
                    out[side, 0, i] = sum(
                        share * density(levels, side, i * width_log, (i + 1) * width_log) / whole / present
                        for (share, levels), whole in zip(families, wholes, strict=True)
                        if whole > 0
                    )
        return out


class NaiveFlow:
    def __init__(self, spec):
        self.spec, self.now, self.recorded_ns, self.whole = spec, 0, 0, 0
        self.taken, self.pushes, self.mark = [], [], NAN

    def step(self, part, mark, close_ns):
        elapsed = min(close_ns - self.now, 60 * 10**9)
        self.now, before, self.mark = close_ns, self.mark, mark.close
        found = by_bin(part, self.spec.bin_log)
        if found is None or not found[1]:
            return
        self.recorded_ns += elapsed
        if not holed(part):
            self.whole = close_ns
        for j, (buys, sells) in found[0].items():
            self.taken.append((self.recorded_ns, j, buys, sells))
        net = sum(b - s for b, s in found[0].values())
        if not math.isnan(before):
            self.pushes.append((self.recorded_ns, net, mark.close - before))

    def outward(self, mark, width_log, bins):
        out = np.full((2, 2 * len(self.spec.half_lives_minutes), bins), NAN)
        if not self.whole or self.now - self.whole > self.spec.stale_minutes * MINUTE_NS:
            return out
        for h, minutes in enumerate(self.spec.half_lives_minutes):
            buys, sells = defaultdict(float), defaultdict(float)
            for at, j, bought, sold in self.taken:
                left = 0.5 ** ((self.recorded_ns - at) / MINUTE_NS / minutes)
                buys[j] += bought * left
                sells[j] += sold * left
            b, s = (pooled(cells, mark, self.spec.bin_log, width_log, bins) for cells in (buys, sells))
            out[0, 2 * h], out[0, 2 * h + 1] = s[0], b[0]
            out[1, 2 * h], out[1, 2 * h + 1] = b[1], s[1]
        return out

    def absorption(self, minutes, side):
        """Share of the net push toward a side that the mark did not follow."""
        pushed = absorbed = 0.0
        for at, net, move in self.pushes:
            push = max(net if side else -net, 0.0) * 0.5 ** ((self.recorded_ns - at) / MINUTE_NS / minutes)
            pushed += push
            absorbed += push if (move if side else -move) <= 0 else 0.0
        return absorbed / pushed if pushed else NAN


def naive_control(volume):
    """Bin of the most volume, nearest the middle of the range, then the lower."""
    held = [j for j, v in enumerate(volume) if v > 0]
    if not held:
        return -1
    middle, most = (held[0] + held[-1]) / 2, max(volume)
    return min((j for j in held if volume[j] == most), key=lambda j: (abs(j - middle), j))


def naive_value_area(volume, share=0.70):
    held = [j for j, v in enumerate(volume) if v > 0]
    if not held:
        return 0, -1
    low = high = naive_control(volume)
    while sum(volume[low : high + 1]) < share * sum(volume) and (low > held[0] or high < held[-1]):
        above, below = (
            [j for j in (high + 1, high + 2) if j <= held[-1]],
            [j for j in (low - 1, low - 2) if j >= held[0]],
        )
        up, down = sum(volume[j] for j in above), sum(volume[j] for j in sorted(below))
        rises, falls = bool(above) and (not below or up >= down), bool(below) and (not above or down >= up)
        high, low = above[-1] if rises else high, below[-1] if falls else low
    return low, high


def naive_voids(volume, share=0.15, least_bins=8):
    held = [j for j, v in enumerate(volume) if v > 0]
    found, run = [], []
    if held:
        limit = share * float(np.median([volume[j] for j in range(held[0], held[-1] + 1)]))
        for j in range(held[0], held[-1] + 2):
            if j <= held[-1] and volume[j] <= limit:
                run.append(j)
            else:
                if len(run) >= least_bins:
                    found.append((run[0], run[-1]))
                run = []
    return found


def naive_outward(window, cells, rows, mark, width_log, bins):
    """(side, channel, price) of `cells[rows[side][channel]]`, NaN for what is not wholly covered: part by part."""
    first, end = window.covered()
    here, width = math.log(mark) / window.bin_log - window.origin, width_log / window.bin_log
    out = np.full((2, len(rows[0]), bins), np.nan)
    for side, direction in ((0, -1.0), (1, 1.0)):
        for channel, row in enumerate(rows[side]):
            for price in range(bins):
                low, high = sorted(here + direction * width * i for i in (price, price + 1))
                if low >= first and high <= end and high > low:
                    touched = range(int(low), min(int(high) + 1, end))
                    out[side, channel, price] = sum(
                        cells[row, j] * (min(high, j + 1.0) - max(low, float(j))) for j in touched
                    )
    return out
