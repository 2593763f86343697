"""The inner loop of the simulated market, compiled: agents, margin, forced orders and the book they hit.

Apart from `market` because numba compiles what is here, so it speaks in plain numbers and tuples: prices are natural
logarithms, amounts are whole lots (sums of integers are exact, so conservation is tested as an equality), times are
sub-steps. Everything random comes from the two generators handed in: one for the outside world, which does not look at
the agents, one for the agents. It is one file, though long, because numba's cache does not notice that a function in
another file has changed. `no_type_check` keeps the test suite's argument checker out of compiled code.
"""

import math
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import njit

LONG, SHORT = 0, 1
ROOM = 20
"""The book holds this many times the starting number of positions."""


class Rules(NamedTuple):
    """The spec in the kernel's units: per sub-step, per lot, in log price."""

    minutes: int
    warm_up_minutes: int
    substeps: int
    log_price: float
    sigma: float
    slow_sd: float
    slow_decay: float
    fast_sd: float
    fast_decay: float
    jump_chance: float
    jump_sigmas: float
    bias_decay: float
    trend_decay: float
    basis_per_bias: float
    lot_base: float
    positions: int
    notional_min: float
    notional_max: float
    notional_tail: float
    target_sd: float
    target_decay: float
    net_chance: float
    close_chance: float
    taker_log_leverage: float
    maker_log_leverage: float
    leverage_sd: float
    leverage_min: float
    leverage_max: float
    maintenance: float
    depth_usd: float
    thinning: float
    bargain: float
    permanent: float
    impact_decay: float
    refill_decay: float
    mark_rate: float
    noise_usd: float


class Outside(NamedTuple):
    """What the agents do not move, one value per sub-step."""

    sigma: Any
    """Standard deviation of the log price over the sub-step."""
    change: Any
    """Change of the log index price."""
    bias: Any
    """Which side wants leverage: positive for longs; standard normal, slow."""
    target: Any
    """Open interest wanted, as a multiple of the initial one."""


class Book(NamedTuple):
    """The agents' open positions; the first `alive[side]` entries of each row are alive."""

    alive: Any
    lots: Any
    liquidation: Any
    leverage: Any
    edge: Any
    """Log price no position of a side is liquidated before: the highest of the longs', the lowest of the shorts'."""
    total: Any
    """Lots held by agents per side, and by the market maker: long + maker = short."""


class Played(NamedTuple):
    """A run, by minute."""

    last: Any
    """Log open, high, low and close."""
    mark: Any
    volume: Any
    """Base coins traded, and those taken by buyers."""
    held: Any
    """Lots at the close: longs, shorts, the market maker's."""
    premium: Any
    """Mean of last over index, less one."""
    at_risk: Any
    """USD per side within an hour's standard deviation of liquidation, at the close."""
    prints: Any
    """A row per forced order: sub-step and fraction, side, lots, log mark, log liquidation price, log price it left."""


class Tape(NamedTuple):
    """Where the price stands between two forced orders."""

    fair: float
    """The index, which also takes the lasting part of forced moves."""
    impact: float
    """The part of earlier forced moves that is still fading."""
    drained: float
    """USD taken from the book and not yet refilled, as a share of its depth."""
    last: float


@njit(cache=True)
@no_type_check
def outside_world(rng: np.random.Generator, rules: Rules) -> Outside:
    """Draw volatility, price changes, crowd bias and wanted open interest before any agent acts."""
    steps = (rules.warm_up_minutes + rules.minutes) * rules.substeps
    sigma, change, bias, target = np.empty(steps), np.empty(steps), np.empty(steps), np.empty(steps)
    slow, fast, crowd, wanted = 0.0, 0.0, 0.0, 0.0
    for step in range(steps):
        slow = autoregress(rng, slow, rules.slow_sd, rules.slow_decay)
        fast = autoregress(rng, fast, rules.fast_sd, rules.fast_decay)
        crowd = autoregress(rng, crowd, 1.0, rules.bias_decay)
        wanted = autoregress(rng, wanted, rules.target_sd, rules.target_decay)
        scale = math.exp(slow + fast)
        shock = rng.standard_normal()
        if rng.random() < rules.jump_chance * scale:
            shock += rules.jump_sigmas * rng.standard_normal()
        sigma[step] = rules.sigma * scale
        change[step] = sigma[step] * shock
        bias[step] = crowd
        target[step] = math.exp(wanted)
    return Outside(sigma, change, bias, target)


@njit(cache=True)
@no_type_check
def autoregress(rng: np.random.Generator, value: float, sd: float, decay: float) -> float:
    """One step of a stationary AR(1) of the given standard deviation."""
    return value * decay + sd * math.sqrt(1.0 - decay * decay) * rng.standard_normal()


@njit(cache=True)
@no_type_check
def liquidation_log_price(log_entry: float, leverage: float, side: int, maintenance: float) -> float:
    """Isolated margin, domain.md §3.1: `entry·(1 ∓ 1/leverage)/(1 ∓ maintenance)`, upper signs for a long."""
    sign = -1.0 if side == LONG else 1.0
    return log_entry + math.log((1.0 + sign / leverage) / (1.0 + sign * maintenance))


@njit(cache=True)
@no_type_check
def open_position(
    rng: np.random.Generator,
    rules: Rules,
    book: Book,
    side: int,
    lots: int,
    taker: bool,
    log_entry: float,
    log_mark: float,
) -> None:
    """Add a position with leverage of its own: the lowest, if the mark would liquidate it at once."""
    centre = rules.taker_log_leverage if taker else rules.maker_log_leverage
    leverage = math.exp(centre + rules.leverage_sd * rng.standard_normal())
    leverage = min(max(leverage, rules.leverage_min), rules.leverage_max)
    price = liquidation_log_price(log_entry, leverage, side, rules.maintenance)
    if (side == LONG and price >= log_mark) or (side == SHORT and price <= log_mark):
        leverage = rules.leverage_min
        price = liquidation_log_price(log_entry, leverage, side, rules.maintenance)
    slot = book.alive[side]
    if slot == book.lots.shape[1]:
        raise ValueError("the book of positions is full: open interest wanders too far, lower open_interest_sd")
    book.alive[side] += 1
    book.lots[side, slot] = lots
    book.liquidation[side, slot] = price
    book.leverage[side, slot] = leverage
    book.total[side] += lots
    book.edge[side] = max(book.edge[side], price) if side == LONG else min(book.edge[side], price)


@njit(cache=True)
@no_type_check
def remove_position(book: Book, side: int, slot: int) -> int:
    """Take a position off the book and return its lots; the last one moves into its place."""
    lots = book.lots[side, slot]
    last = book.alive[side] - 1
    book.alive[side] = last
    book.lots[side, slot] = book.lots[side, last]
    book.liquidation[side, slot] = book.liquidation[side, last]
    book.leverage[side, slot] = book.leverage[side, last]
    book.total[side] -= lots
    return lots


@njit(cache=True)
@no_type_check
def draw_lots(rng: np.random.Generator, rules: Rules, log_price: float) -> int:
    """A Pareto notional, cut at the largest position allowed, in whole lots."""
    notional = min(rules.notional_min * (1.0 - rng.random()) ** (-1.0 / rules.notional_tail), rules.notional_max)
    return max(1, int(notional / (math.exp(log_price) * rules.lot_base)))


@njit(cache=True)
@no_type_check
def first_book(rng: np.random.Generator, rules: Rules) -> Book:
    """One long and one short for each of the first contracts, all entered at the starting price."""
    room = ROOM * rules.positions
    lots, liquidation, leverage = np.zeros((2, room), np.int64), np.zeros((2, room)), np.zeros((2, room))
    edge = np.array([-np.inf, np.inf])
    book = Book(np.zeros(2, np.int64), lots, liquidation, leverage, edge, np.zeros(3, np.int64))
    for _ in range(rules.positions):
        size = draw_lots(rng, rules, rules.log_price)
        open_position(rng, rules, book, LONG, size, rng.random() < 0.5, rules.log_price, rules.log_price)
        open_position(rng, rules, book, SHORT, size, rng.random() < 0.5, rules.log_price, rules.log_price)
    return book


@njit(cache=True)
@no_type_check
def hand_over(
    rng: np.random.Generator, rules: Rules, book: Book, side: int, crowd: float, pace: float, last: float, mark: float
) -> tuple[int, int]:
    """Positions that close at will, each passed on to a newcomer; returns lots taken by buyers and by sellers.

    Higher leverage is held for less long. The newcomer is the taker when the crowd leans his way, else the one who
    leaves.
    """
    bought, sold = 0, 0
    fastest = (rules.leverage_max / 10.0) ** 0.6
    for _ in range(rng.poisson(book.alive[side] * rules.close_chance * pace * fastest)):
        slot = int(rng.random() * book.alive[side])
        if rng.random() * fastest > (book.leverage[side, slot] / 10.0) ** 0.6:
            continue
        lots = remove_position(book, side, slot)
        newcomer_takes = rng.random() < (crowd if side == LONG else 1.0 - crowd)
        open_position(rng, rules, book, side, lots, newcomer_takes, last, mark)
        if newcomer_takes == (side == LONG):
            bought += lots
        else:
            sold += lots
    return bought, sold


@njit(cache=True)
@no_type_check
def trade_net(
    rng: np.random.Generator,
    rules: Rules,
    book: Book,
    wanted: float,
    crowd: float,
    pace: float,
    last: float,
    mark: float,
) -> tuple[int, int]:
    """Open interest moves towards what is wanted; returns lots taken by buyers and by sellers.

    What the market maker holds goes first: to newcomers while open interest should grow, against closing positions of
    the other side while it should fall. When he is flat, a pair opens (one long, one short) or an agent closes against
    him.
    """
    bought, sold = 0, 0
    for _ in range(rng.poisson(rules.positions * rules.net_chance * pace)):
        maker = book.total[2]
        held = max(book.total[LONG], book.total[SHORT]) * rules.lot_base * math.exp(last)
        gap = math.log(wanted / held)
        if rng.random() > 0.1 + abs(gap) * 4.0 and maker == 0:
            continue
        grow = rng.random() < 0.5 + 2.0 * gap
        taker_long = rng.random() < crowd
        if grow and maker == 0:
            lots = draw_lots(rng, rules, last)
            open_position(rng, rules, book, LONG, lots, taker_long, last, mark)
            open_position(rng, rules, book, SHORT, lots, not taker_long, last, mark)
            buyer_takes = taker_long
        elif grow:
            side = LONG if maker > 0 else SHORT
            lots = min(draw_lots(rng, rules, last), abs(maker))
            open_position(rng, rules, book, side, lots, True, last, mark)
            book.total[2] -= lots if side == LONG else -lots
            buyer_takes = side == LONG
        else:
            side = int(rng.random() * 2) if maker == 0 else (SHORT if maker > 0 else LONG)
            if book.alive[side] < 2:
                continue
            slot = int(rng.random() * book.alive[side])
            if maker != 0 and book.lots[side, slot] > abs(maker):
                lots = abs(maker)
                book.lots[side, slot] -= lots
                book.total[side] -= lots
            else:
                lots = remove_position(book, side, slot)
            book.total[2] += lots if side == LONG else -lots
            buyer_takes = side == SHORT
        if buyer_takes:
            bought += lots
        else:
            sold += lots
    return bought, sold


@njit(cache=True)
@no_type_check
def crossed(book: Book, side: int, log_mark: float) -> bool:
    """Whether the mark may have reached some position of a side."""
    return log_mark <= book.edge[side] if side == LONG else log_mark >= book.edge[side]


@njit(cache=True)
@no_type_check
def enforce_margin(
    rules: Rules, book: Book, side: int, step: int, log_mark: float, calm: float, tape: Tape, prints: Any, printed: int
) -> tuple[Tape, Any, int]:
    """Force out every position of a side whose liquidation price the mark has reached; each order moves the last price.

    The market maker takes the lots over. A sale of `depth_usd` moves a full book 1 % at ordinary volatility. The book
    is thinner when volatility is high and where forced orders have just taken from it, and thicker where bargain
    hunters wait: the further forced orders have pushed the price. Part of the move stays, the rest fades.
    """
    index, impact, drained, last = tape
    sign, edge, slot = (-1.0, -np.inf, 0) if side == LONG else (1.0, np.inf, 0)
    while slot < book.alive[side]:
        price = book.liquidation[side, slot]
        if (log_mark > price) if side == LONG else (log_mark < price):
            edge = max(edge, price) if side == LONG else min(edge, price)
            slot += 1
            continue
        lots = remove_position(book, side, slot)
        book.total[2] += lots if side == LONG else -lots
        share = lots * rules.lot_base * math.exp(log_mark) / rules.depth_usd
        resistance = 1.0 + (impact / rules.bargain) ** 2
        move = sign * min(0.01 * share * calm**rules.thinning * (1.0 + drained) / resistance, 0.02)
        drained = min(drained + share, 1.0)
        index += rules.permanent * move
        impact += (1.0 - rules.permanent) * move
        last += move
        if printed == len(prints):
            prints = np.concatenate((prints, np.empty_like(prints)))
        prints[printed] = np.array((float(step), float(side), float(lots), log_mark, price, last))
        printed += 1
    book.edge[side] = edge
    return Tape(index, impact, drained, last), prints, printed


@njit(cache=True)
@no_type_check
def note(ohlc: Any, price: float) -> None:
    """Stretch a bar's high and low to a price."""
    ohlc[1] = max(ohlc[1], price)
    ohlc[2] = min(ohlc[2], price)


@njit(cache=True)
@no_type_check
def near_usd(rules: Rules, book: Book, side: int, log_mark: float, reach: float) -> float:
    """USD of open positions of a side whose liquidation price lies within `reach` of the mark."""
    lots = 0
    for slot in range(book.alive[side]):
        if abs(book.liquidation[side, slot] - log_mark) <= reach:
            lots += book.lots[side, slot]
    return lots * rules.lot_base * math.exp(log_mark)


@njit(cache=True)
@no_type_check
def run_market(rng: np.random.Generator, rules: Rules, outside: Outside) -> Played:
    """Play every sub-step: the world moves, the mark follows, margins are enforced, agents trade."""
    minutes, warm = rules.minutes, rules.warm_up_minutes
    last_ohlc, mark_ohlc = np.empty((minutes, 4)), np.empty((minutes, 4))
    volume, held = np.zeros((minutes, 2)), np.zeros((minutes, 3), np.int64)
    premium, at_risk = np.zeros(minutes), np.zeros((minutes, 2))
    prints, printed = np.empty((4096, 6)), 0
    index, impact, trend, mark_basis, drained = rules.log_price, 0.0, 0.0, 0.0, 0.0
    book = first_book(rng, rules)
    start_usd = book.total[LONG] * rules.lot_base * math.exp(index)
    last, mark, variance = index, index, rules.sigma**2
    for minute in range(-warm, minutes):
        row = max(minute, 0)
        last_ohlc[row] = last
        mark_ohlc[row] = mark
        bought_lots, sold_lots, noise_base, noise_bought, basis_sum = 0, 0, 0.0, 0.0, 0.0
        for sub in range(rules.substeps):
            step = (minute + warm) * rules.substeps + sub
            sigma, bias = outside.sigma[step], outside.bias[step]
            calm = sigma / rules.sigma
            before = last
            index += outside.change[step]
            impact *= rules.impact_decay
            drained *= rules.refill_decay
            basis = impact + rules.basis_per_bias * bias
            mark_basis += rules.mark_rate * (basis - mark_basis)
            last, mark = index + basis, index + mark_basis
            note(last_ohlc[row], last)
            note(mark_ohlc[row], mark)
            tape = Tape(index, impact, drained, last)
            first = printed
            for side in (LONG, SHORT):
                if crossed(book, side, mark):
                    tape, prints, printed = enforce_margin(rules, book, side, step, mark, calm, tape, prints, printed)
                    note(last_ohlc[row], tape.last)
            for number in range(first, printed):
                prints[number, 0] += (number - first + 1.0) / (printed - first + 1.0)
                if prints[number, 1] == LONG:
                    sold_lots += int(prints[number, 2])
                else:
                    bought_lots += int(prints[number, 2])
            index, impact, drained, last = tape
            trend = trend * rules.trend_decay + (1.0 - rules.trend_decay) * outside.change[step] / rules.sigma
            crowd = 0.5 + 0.35 * math.tanh(0.7 * bias + 0.35 * trend / math.sqrt(0.5 * (1.0 - rules.trend_decay)))
            pace = math.sqrt(calm)
            for side in (LONG, SHORT):
                bought, sold = hand_over(rng, rules, book, side, crowd, pace, last, mark)
                bought_lots += bought
                sold_lots += sold
            bought, sold = trade_net(rng, rules, book, start_usd * outside.target[step], crowd, pace, last, mark)
            bought_lots += bought
            sold_lots += sold
            noise = rules.noise_usd * calm**0.8 * math.exp(0.5 * rng.standard_normal() - 0.125) / math.exp(last)
            noise_base += noise
            noise_bought += noise * (0.5 + 0.3 * math.tanh(0.6 * (last - before) / sigma) + 0.1 * (crowd - 0.5))
            basis_sum += math.expm1(last - index)
        variance += (1.0 - 0.5 ** (1.0 / 60.0)) * ((last - last_ohlc[row, 0]) ** 2 - variance)
        if minute < 0:
            printed = 0
            continue
        last_ohlc[row, 3], mark_ohlc[row, 3] = last, mark
        volume[row, 0] = noise_base + (bought_lots + sold_lots) * rules.lot_base
        volume[row, 1] = noise_bought + bought_lots * rules.lot_base
        held[row] = book.total
        premium[row] = basis_sum / rules.substeps
        for side in (LONG, SHORT):
            at_risk[row, side] = near_usd(rules, book, side, mark, math.sqrt(60.0 * variance))
    return Played(last_ohlc, mark_ohlc, volume, held, premium, at_risk, prints[:printed].copy())
