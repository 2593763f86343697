"""Slow, obvious twins of what must be fast: they judge it, and nothing else imports them."""

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from squeeze.spec import FrameSpec, MapSpec

WIDE = 20_000
"""Bins of the naive map: wide enough never to slide (a factor of 20,000 in price at 5 basis points)."""


class NaiveMap:
    """The liquidation map of domain.md §3.5 on one fixed array of absolute bins, without a lazy scale or a frontier.

    `mass[side, bucket, bin - first]` is unit mass in coins; `born[side, bin - first]` the prior-weighted mass × birth.
    With `part_days`, `cohorts` keeps apart what was opened in each part of so many days, prior-weighted.
    """

    def __init__(self, spec: MapSpec, first_price: float, distances_log=None, part_days: float | None = None) -> None:
        self.spec = spec
        self.first = math.floor(math.log(first_price) / spec.bin_log) - WIDE // 2
        self.prior = np.array(spec.prior_weights)
        self.distances_log = distances_log
        self.mass = np.zeros((2, len(spec.leverages), WIDE))
        self.born = np.zeros((2, WIDE))
        self.buys, self.sells = np.zeros(WIDE), np.zeros(WIDE)
        self.already_gone = np.zeros(2)
        self.open_interest = self.stamp_days = math.nan
        self.volume = self.weight = 0.0
        self.added = np.zeros_like(self.mass[:, :, 0])
        self.closed, self.bounded, self.aged, self.recounted = (np.zeros_like(self.added) for _ in range(4))
        self.part_days = part_days
        self.cohorts: dict[int, np.ndarray] = {}

    def place(self, price: float) -> float:
        return math.log(price) / self.spec.bin_log - self.first

    def step(self, mark, traded, buy_base, sell_base, open_interest_base, days, step_days, flow=None):
        spec = self.spec
        low, high, close = (self.place(p) for p in mark)
        swept = self.sweep(low, high, math.floor(close))
        self.already_gone += swept @ self.prior
        if flow is None:
            self.trade(self.place(traded[0]), self.place(traded[1]), buy_base, sell_base)
        else:
            for i, (bought, sold) in enumerate(flow.sides.T):
                self.buys[flow.first_bin + i - self.first] += bought
                self.sells[flow.first_bin + i - self.first] += sold
            buy_base, sell_base = flow.sides.sum(axis=1)
        if spec.ageing_half_life_hours is not None:
            held = self.mass.sum(axis=2)
            self.shrink(np.full(2, 0.5 ** (24 * step_days / spec.ageing_half_life_hours)))
            self.aged += held - self.mass.sum(axis=2)
        if spec.open_interest == "volume":
            decay = 0.5 ** (24 * step_days / spec.reference_half_life_hours)
            self.volume = decay * self.volume + buy_base + sell_base
            self.weight = decay * self.weight + step_days
            self.open_interest = spec.reference_turnover_days * self.volume / self.weight
            return swept, self.close_and_open(0.0, self.open_interest, close, days)
        if math.isnan(open_interest_base):
            if spec.open_interest == "live" and (days - self.stamp_days) * 1440 <= spec.live_silence_minutes + 1e-5:
                return swept, self.close_and_open(0.0, self.open_interest, close, days)
            return swept, False
        before = open_interest_base if math.isnan(self.open_interest) else self.open_interest
        self.open_interest, self.stamp_days = open_interest_base, days
        if spec.jump_share is not None and abs(open_interest_base - before) >= spec.jump_share * before:
            held = self.mass.sum(axis=2)
            self.shrink(np.full(2, open_interest_base / before))
            self.recounted += held - self.mass.sum(axis=2)
            self.buys[:] = self.sells[:] = 0.0
            self.already_gone[:] = 0.0
            self.bound()
            return swept, True
        return swept, self.close_and_open(open_interest_base - before, before, close, days)

    def sweep(self, low: float, high: float, mark: int) -> np.ndarray:
        """Longs from the bin of `low` up, shorts from that of `high` down; all that is 24 bins past the mark."""
        j = np.arange(WIDE)
        gone = np.stack([np.clip(j + 1 - low, 0, 1), np.clip(high - j, 0, 1)]) * self.spec.swept
        gone[0, j > mark + 24] = gone[1, j < mark - 24] = 1.0
        swept = (self.mass * gone[:, None]).sum(axis=2)
        self.mass *= 1 - gone[:, None]
        self.born *= 1 - gone
        for cohort in self.cohorts.values():
            cohort *= 1 - gone
        return swept

    def trade(self, low: float, high: float, buys: float, sells: float) -> None:
        """A bar's volume, spread evenly over [low, high]."""
        for j in range(math.floor(low), math.floor(high) + 1):
            share = (min(high, j + 1) - max(low, j)) / (high - low) if math.floor(high) > math.floor(low) else 1.0
            self.buys[j] += buys * share
            self.sells[j] += sells * share

    def shrink(self, factor: np.ndarray) -> None:
        self.mass *= factor[:, None, None]
        self.born *= factor[:, None]
        for cohort in self.cohorts.values():
            cohort *= factor[:, None]

    def close(self, share: np.ndarray, here: float) -> None:
        """Close a share of each side; under a tilt the share of a position with hazard φ is proportional to φ."""
        near, profit = self.spec.close_tilt_near, self.spec.close_tilt_profit
        if near == profit == 0:
            self.shrink(1 - share)
            return
        before = np.einsum("k,skj->sj", self.prior, self.mass)
        middles = np.arange(WIDE) + 0.5
        for side, sign in ((0, 1), (1, -1)):
            for bucket in range(len(self.prior)):
                if not (share[side] > 0 and self.mass[side, bucket].sum() > 0):
                    continue
                x = np.maximum(sign * (here - middles), 0) / abs(self.shift(side, bucket))
                phi = 1 + near * np.maximum(1 - x, 0) ** 2 + profit * np.clip(x - 1, 0, 1)
                relative = phi / np.average(phi, weights=self.mass[side, bucket])
                most = (1 + max(near, profit)) * relative[0] / phi[0]
                tilt = min(1.0, (0.9 / share[side] - 1) / (most - 1)) if share[side] * most > 0.9 else 1.0
                self.mass[side, bucket] *= 1 - share[side] * (1 + tilt * (relative - 1))
        self.thin_like(before)

    def thin_like(self, before: np.ndarray) -> None:
        """What happened to the prior-weighted mass of a bin since `before` happens to its births and cohorts."""
        after = np.einsum("k,skj->sj", self.prior, self.mass)
        ratio = np.divide(after, before, out=np.ones_like(before), where=before > 0)
        self.born *= ratio
        for cohort in self.cohorts.values():
            cohort *= ratio

    def close_and_open(self, change: float, before: float, here: float, days: float) -> bool:
        spec, tau, mark = self.spec, self.spec.taker_tilt, math.floor(here)
        volume = self.buys.sum() + self.sells.sum()
        churn = spec.turnover * max(volume - abs(change), 0.0) / 2
        opens, closes = max(change, 0.0) + churn, max(-change, 0.0) + churn
        if volume > 0 and before > 0:
            held = self.mass.sum(axis=2)
            self.close(np.minimum(0.9, np.maximum(closes - self.already_gone, 0.0) / before), here)
            self.closed += held - self.mass.sum(axis=2)
            b = self.buys.sum() / volume
            for side in range(2):
                own, other = (self.buys, self.sells) if side == 0 else (self.sells, self.buys)
                by_bin = tau * own + (2 - tau) * other
                levered = tau * b + (2 - tau) * (1 - b) if side == 0 else tau * (1 - b) + (2 - tau) * b
                for j in np.flatnonzero(by_bin):
                    coins = opens * levered * by_bin[j] / by_bin.sum()
                    for bucket in range(len(spec.leverages)):
                        self.deposit(side, bucket, int(j), coins, mark, days)
        self.buys[:] = self.sells[:] = 0.0
        self.already_gone[:] = 0.0
        return self.bound()

    def shift(self, side: int, bucket: int) -> float:
        """Bins from entry to liquidation price: ln(LP / EP)."""
        if self.distances_log is not None:
            return float(self.distances_log[side, bucket]) / self.spec.bin_log
        s = 1 if side == 0 else -1
        ratio = (1 - s / self.spec.leverages[bucket]) / (1 - s * self.spec.maintenance)
        return math.log(ratio) / self.spec.bin_log

    def deposit(self, side: int, bucket: int, entry: int, coins: float, mark: int, days: float) -> None:
        """Shift, smear by a normal cut at three deviations, drop what lands on the crossed side."""
        offsets, weights = self.evenly(side) if self.spec.shape == "uniform" else self.smeared(side, bucket)
        weights = coins * weights / weights.sum()
        kept = entry + offsets < mark if side == 0 else entry + offsets > mark
        at = entry + offsets[kept]
        self.mass[side, bucket, at] += weights[kept]
        self.born[side, at] += weights[kept] * self.prior[bucket] * days
        self.added[side, bucket] += weights[kept].sum()
        if self.part_days is not None:
            part = math.ceil(days / self.part_days - 1e-9) - 1
            self.cohorts.setdefault(part, np.zeros((2, WIDE)))[side, at] += weights[kept] * self.prior[bucket]

    def smeared(self, side: int, bucket: int) -> tuple[np.ndarray, np.ndarray]:
        """Bins from entry, and the bell's height there."""
        shift = self.shift(side, bucket)
        deviation = max(0.5, self.spec.smear * abs(shift))
        reach = math.ceil(3 * deviation)
        offsets = round(shift) + np.arange(-reach, reach + 1)
        return offsets, np.exp(-0.5 * ((offsets - shift) / deviation) ** 2)

    def evenly(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Bins from entry, and the part of each that lies within `uniform_log` of the middle of the entry's bin."""
        near, far = (distance / self.spec.bin_log for distance in self.spec.uniform_log)
        away = np.arange(1001)
        inside = np.maximum(0.0, np.minimum(away + 0.5, far) - np.maximum(away - 0.5, near))
        return (-away if side == 0 else away), inside

    def bound(self) -> bool:
        """No bucket may hold more than 1.05 × open interest, but for rounding."""
        held, most = self.mass.sum(axis=2), 1.05 * self.open_interest
        too_much = held > most * (1 + 1e-12)
        if not too_much.any():
            return False
        before = np.einsum("k,skj->sj", self.prior, self.mass)
        self.mass *= np.where(too_much, most / np.maximum(held, most), 1.0)[:, :, None]
        self.thin_like(before)
        self.bounded += held - self.mass.sum(axis=2)
        return self.spec.open_interest != "volume"

    def view(self, parts: int, days: float) -> np.ndarray:
        """(side, bin): prior-weighted mass opened in the running part and the `parts` - 1 before it."""
        assert self.part_days is not None
        running = math.ceil(days / self.part_days - 1e-9) - 1
        young = [cohort for part, cohort in self.cohorts.items() if part > running - parts]
        return np.sum(young, axis=0) if young else np.zeros((2, WIDE))

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """Mass between mark ± i·width and mark ± (i + 1)·width, each grid bin spread evenly over itself."""
        here, width = self.place(mark), width_log / self.spec.bin_log
        before = np.concatenate([np.zeros((*self.mass.shape[:2], 1)), self.mass.cumsum(axis=2)], axis=2)
        edges = np.arange(WIDE + 1)
        out = np.zeros((2, self.mass.shape[1], bins))
        for side, sign in ((0, -1), (1, 1)):
            for bucket in range(self.mass.shape[1]):
                at = np.interp(here + sign * width * np.arange(bins + 1), edges, before[side, bucket])
                out[side, bucket] = np.abs(np.diff(at))
        return out


def naive_zones(share, born_share_days, days: float, bin_log: float, spec: FrameSpec) -> list[tuple[float, ...]]:
    """(side, near, far, centroid, peak, mass, age) of each zone, from the words of domain.md §4.1."""
    found = []
    for side in range(2):
        raw = [float(v) for v in share[side]]
        n = len(raw)
        cells = [0.25 * raw[max(i - 1, 0)] + 0.5 * raw[i] + 0.25 * raw[min(i + 1, n - 1)] for i in range(n)]
        # The smallest value that at least this share of the cells do not exceed.
        quantile = next(v for v in sorted(cells) if sum(c <= v for c in cells) >= spec.zone_quantile * n - 1e-9)
        dense = [i for i in range(n) if cells[i] >= max(quantile, spec.zone_floor_share)]
        runs: list[list[int]] = []
        for i in dense:
            if runs and i - runs[-1][-1] <= 2:
                runs[-1].append(i)
            else:
                runs.append([i])
        for run in runs:
            span = range(run[0], run[-1] + 1)
            mass = sum(cells[i] for i in span)
            if mass < spec.zone_mass_share:
                continue
            centroid = sum(cells[i] * (i + 0.5) for i in span) / mass
            held = sum(raw[i] for i in span)
            age = days - sum(float(born_share_days[side][i]) for i in span) / held if held > 0 else math.nan
            peak = max(cells[i] for i in span)
            found.append((side, run[0] * bin_log, (run[-1] + 1) * bin_log, centroid * bin_log, peak, mass, age))
    return found


def naive_price_scalars(bars: list[tuple[float, ...]], spec: FrameSpec, step_seconds: int) -> dict[str, list[float]]:
    """[long, short] by name, from (open, high, low, close, volume) oldest first. The short side sees 1 / price."""
    turned = [(1 / o, 1 / low, 1 / high, 1 / c, v) for o, high, low, c, v in bars]
    long_side, short_side = (one_sided(b, spec, step_seconds) for b in (bars, turned))
    return {name: [long_side[name], short_side[name]] for name in long_side}


def one_sided(bars: list[tuple[float, ...]], spec: FrameSpec, step_seconds: int) -> dict[str, float]:
    """Every price scalar of a side whose danger is below."""
    minutes = step_seconds / 60

    def steps(window: float) -> int:
        return max(1, round(window / minutes))

    def last(values: list[float], count: int) -> list[float]:
        return values[max(0, len(values) - count) :]

    def range_variance(count: int) -> float:
        return float(np.mean([(h - lo) ** 2 / (4 * math.log(2)) for h, lo in last(spans, count)]))

    opens, highs, lows, closes = ([math.log(bar[i]) for bar in bars] for i in range(4))
    volumes = [bar[4] for bar in bars]
    spans = list(zip(highs, lows, strict=True))
    returns = [b - a for a, b in pairwise(closes)]
    n = len(bars)
    fast, slow = (math.sqrt(range_variance(steps(w))) + 1e-6 for w in spec.sigma_windows_minutes)
    hour, skip = math.sqrt(steps(60)), steps(spec.fresh_skip_minutes)
    usual = float(np.mean(last(volumes, steps(spec.windows_minutes[-1]))))
    now = closes[-1]
    out = {}
    for window in spec.windows_minutes:
        k, tag = min(n, steps(window)), f"{window:g}m"
        # Returns into the bars of the window: the first needs the close before it.
        inside = last(returns, k)
        squares = sum(r * r for r in inside)
        falls = sum(r * r for r in inside if r < 0)
        mean_square = squares / max(1, len(inside))
        out[f"volatility_{tag}"] = 0.5 * math.log(mean_square + 1e-10) - 0.5 * math.log(minutes)
        out[f"parkinson_{tag}"] = 0.5 * math.log(range_variance(k) + 1e-10) - 0.5 * math.log(minutes)
        out[f"volume_surprise_{tag}"] = math.log((np.mean(last(volumes, k)) + 1e-9) / (usual + 1e-9))
        high, low = max(last(highs, k)), min(last(lows, k))
        out[f"range_{tag}"] = math.log(high - low + 1e-5)
        out[f"downside_{tag}"] = falls / squares if squares > 0 else 0.5
        out[f"return_{tag}"] = (now - closes[max(0, n - 1 - k)]) / (slow * math.sqrt(k))
        out[f"to_extreme_{tag}"] = (now - low) / (slow * hour)
        out[f"from_extreme_{tag}"] = (high - now) / (slow * hour)
        old = lows[max(0, n - k - skip) : max(1, n - skip)]
        out[f"fresh_extreme_{tag}"] = (now - min(old)) / (fast * hour)
    out["candle_body"] = (now - opens[-1]) / slow
    out["candle_danger_wick"] = (min(now, opens[-1]) - lows[-1]) / slow
    out["candle_other_wick"] = (highs[-1] - max(now, opens[-1])) / slow
    decay = 0.5 ** (minutes / spec.velocity_half_life_minutes)
    speeds = [0.0]
    for r in last(returns, 16 * steps(60)):
        speeds.append(decay * speeds[-1] + (1 - decay) * -r / minutes)
    gain = (speeds[-1] - speeds[-2]) / minutes if len(speeds) > 1 else 0.0
    per_minute = fast / math.sqrt(minutes)
    out["approach_velocity"], out["approach_velocity_sigmas"] = speeds[-1], speeds[-1] / per_minute
    out["approach_acceleration"], out["approach_acceleration_sigmas"] = gain, gain / per_minute
    return out


def naive_reach(share: np.ndarray, bin_log: float, sigma: float, distances: tuple[float, ...]) -> np.ndarray:
    """(side, scalar): log mass within each distance, within 1, 2 and 3 σ, and the expected sweep."""
    limits = (*distances, sigma, 2 * sigma, 3 * sigma)
    out = np.zeros((2, len(limits) + 1))
    for side in range(2):
        middles = [(i + 0.5) * bin_log for i in range(len(share[side]))]
        for at, limit in enumerate(limits):
            out[side, at] = math.log(sum(s for s, x in zip(share[side], middles, strict=True) if x < limit) + 1e-5)
        # A walk without drift touches x with twice the probability of ending beyond it (reflection principle).
        reached = (2 * NormalDist(0, sigma).cdf(-x) * s for s, x in zip(share[side], middles, strict=True))
        out[side, -1] = math.log(sum(reached) + 1e-5)
    return out


def naive_summary(bids: dict[float, float], asks: dict[float, float], depth: int, bin_log: float) -> dict | None:
    """What a book says by the words of domain.md §4.1 and of `BookSummary`, one level at a time."""
    if not bids or not asks or max(bids) >= min(asks):
        return None
    mid = (max(bids) + min(asks)) / 2
    near = [(p, s, 0) for p, s in sorted(bids.items(), reverse=True) if mid - p <= 0.05 * mid]
    near += [(p, s, 1) for p, s in sorted(asks.items()) if p - mid <= 0.05 * mid]
    last = (min(bids), max(asks)) if depth else (0.0, math.inf)
    found: dict = {"bid": max(bids), "ask": min(asks), "spread_bps": (min(asks) - max(bids)) / mid * 1e4}
    bands: list[list[float]] = [[], []]
    for bps in (10.0, 25.0, 50.0, 100.0, 200.0):
        low, high = mid * (1e4 - bps) / 1e4, mid * (1e4 + bps) / 1e4
        bought = sum(p * s for p, s, side in near if side == 0 and p >= low)
        sold = sum(p * s for p, s, side in near if side == 1 and p <= high)
        bands[0].append(math.nan if low < last[0] else bought)
        bands[1].append(math.nan if high > last[1] else sold)
    found["bid_depth_usd"], found["ask_depth_usd"] = bands
    found["imbalance"] = [(b - a) / (b + a) if b + a else math.nan for b, a in zip(*bands, strict=True)]
    for name, taken_side, sign in (("buy_cost_bps", 1, 1), ("sell_cost_bps", 0, -1)):
        found[name] = []
        for usd in (1e4, 1e5, 1e6):
            left, coins = usd, 0.0
            for p, s, side in near:
                if side == taken_side:
                    spent = min(left, p * s)
                    left, coins = left - spent, coins + spent / p
            found[name].append(sign * (usd / coins / mid - 1) * 1e4 if left <= 0 else math.nan)
    edges = [min(max(limit, mid * 0.95), mid * 1.05) for limit in last]
    found["first_bin"], last_bin = (math.floor(math.log(edge) / bin_log) for edge in edges)
    for name, own in (("bids_usd", 0), ("asks_usd", 1)):
        sums = {number: 0.0 for number in range(found["first_bin"], last_bin + 1)}
        for p, s, side in near:
            number = math.floor(math.log(p) / bin_log)
            if side == own and number in sums:
                sums[number] += p * s
        found[name] = list(sums.values())
    return found


def naive_flow(trades: list[tuple[float, float, bool]], bin_log: float) -> dict[tuple[int, bool], float]:
    """Coins by (price bin, whether takers bought), from (price, size, taker buys)."""
    flow: dict[tuple[int, bool], float] = {}
    for price, size, buys in trades:
        key = math.floor(math.log(price) / bin_log), buys
        flow[key] = flow.get(key, 0.0) + size
    return flow
