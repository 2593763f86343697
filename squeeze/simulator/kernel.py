"""The inner loop of the simulated market, compiled: agents, margin, stops, walls, forced orders and the book they hit.

Apart from `market` because numba compiles what is here, so it speaks in plain numbers and tuples: prices are natural
logarithms, amounts are whole lots (sums of integers are exact, so conservation is tested as an equality), times are
sub-steps. Venue v's longs are row 2·v of the positions, its shorts row 2·v + 1. What a market has by default is drawn
from one generator, what can be switched on from another, so that a switch moves no other draw. It is one file, though
long, because numba's cache does not notice that a function in another file has changed. `no_type_check` keeps the test
suite's argument checker out of compiled code.
"""

import math
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import njit

from squeeze.simulator.outside import Outside

inner = njit(cache=True, no_cpython_wrapper=True)  # type: ignore[call-overload]  # missing in the stubs
"""For what only this file calls: without the wrapper by which Python could, the file compiles in 36 s instead of 53."""

LONG, SHORT = 0, 1
BID, ASK = 0, 1
ROOM = 20
"""The book holds this many times the starting number of positions."""
RECENT_MINUTES = 240
"""How far back stops look for an extreme."""

OPEN, HANDED, NETTED, LIQUIDATED, STOPPED, LEFT, MARGIN = range(7)
"""Why a row of the ledger ended: not yet; passed to a newcomer; closed as open interest fell; forced; its stop; left by
the thinning of a zone; margin was added or taken, and the position goes on in another row."""

PLACED, REMOVED, WALL_SIDE, WALL_VENUE, GENUINE, WALL_END, WALL_PRICE, WALL_USD, EATEN = range(9)
"""Columns of the walls' log; `WALL_END` is one of the next."""
STANDS, PULLED, TAKEN, EXPIRED = range(4)

INDEX, IMPACT, DRAINED, LAST, MARK, TREND, MARK_BASIS, VARIANCE, START_USD, EXCITED, BASIS = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    11,
)
"""Places in the hidden state: `EXCITED` has one for each side, `BASIS` one for each venue."""


class Dice(NamedTuple):
    """The generators of the agents."""

    agents: Any
    extra: Any
    """For whatever is off by default."""


class Venues(NamedTuple):
    """One value per venue."""

    cumulative: Any
    """Shares of open interest, summed up to each."""
    margin: Any
    """Maintenance margin with the close fee, as a fraction of notional."""


class Rules(NamedTuple):
    """The spec in the kernel's units: per sub-step, per lot, in log price; a share or chance of 0 switches off."""

    minutes: int
    warm_up_minutes: int
    substeps: int
    log_price: float
    sigma: float
    trend_decay: float
    basis_per_bias: float
    lot_base: float
    positions: int
    notional_min: float
    notional_max: float
    notional_tail: float
    net_chance: float
    close_chance: float
    taker_log_leverage: float
    maker_log_leverage: float
    leverage_sd: float
    leverage_min: float
    leverage_max: float
    depth_usd: float
    thinning: float
    bargain: float
    permanent: float
    impact_decay: float
    refill_decay: float
    mark_rate: float
    noise_usd: float
    detail: int
    basis_sd: float
    basis_decay: float
    cross_share: float
    free_log_median: float
    free_log_sd: float
    margin_chance: float
    stop_share: float
    stop_round_share: float
    stop_reach: float
    stop_beyond: float
    round_usd: float
    leave_chance: float
    leave_reach: float
    leave_profit: float
    real_share: float
    null_rate: float
    null_power: float
    null_branching: float
    null_decay: float
    wall_chance: float
    wall_usd: float
    wall_tail: float
    wall_distance: float
    wall_genuine: float
    wall_flee: float
    wall_end_chance: float


class Book(NamedTuple):
    """The agents' open positions; the first `alive[row]` entries of each row are alive."""

    alive: Any
    lots: Any
    liquidation: Any
    leverage: Any
    entry: Any
    free: Any
    """Free balance behind a cross position, in multiples of its initial margin; 0 for isolated margin."""
    stop: Any
    """Log last price at which the holder closes; infinitely far without a stop."""
    serial: Any
    """Row of the ledger."""
    edge: Any
    """Log price no position of a row is liquidated before: the highest of the longs', the lowest of the shorts'."""
    stop_edge: Any
    """The same of stops."""
    total: Any
    """Per venue, lots held by agents who are long, short, and by the market maker: long + maker = short."""
    basis: Any
    """Log price of each venue over the shared one."""
    now: Any
    """Sub-step, recent low and recent high: what opening a position looks at."""
    times: Any
    """The ledger, a row for each position: opened, closed, why, row, cross, lots, and which row it began as."""
    prices: Any
    """The ledger: entry, liquidation and stop as log prices, leverage, free balance."""
    used: Any
    """Rows of the ledger in use."""


class WallBook(NamedTuple):
    """Large resting orders."""

    live: Any
    """Those that may stand: log price, side, USD left (0: none), genuine, row of the log, venue."""
    log: Any
    """All that ever stood."""
    used: Any
    """Rows of the log in use."""
    fresh: Any
    """USD taken from them in this sub-step, by venue."""


class Played(NamedTuple):
    """A run, by venue and minute, and below `prints` what only a run with `detail` holds."""

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
    """A row per forced order: sub-step and fraction, side, lots, log mark, log liquidation price, log price it left,
    venue, log bankruptcy price."""
    path: Any
    """By sub-step: shared log price before and after forced orders, and mark."""
    basis: Any
    flow: Any
    """By sub-step and venue: base coins that buyers and sellers took, without forced orders."""
    open_lots: Any
    """By sub-step and venue: contracts open, each counted once."""
    hidden: Any
    """By minute, at its close: the state from which the market could be played on."""
    standing: Any
    """By minute, at its close: the walls that stand, as `WallBook.live`."""
    book: Book
    walls: WallBook


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
def liquidation_log_price(log_entry: float, leverage: float, side: int, maintenance: float) -> float:
    """Isolated margin, domain.md §3.1: `entry·(1 ∓ 1/leverage)/(1 ∓ maintenance)`, upper signs for a long.

    A cross position has the leverage of its notional over all that it can lose: margin and free balance.
    """
    sign = -1.0 if side == LONG else 1.0
    return log_entry + math.log((1.0 + sign / leverage) / (1.0 + sign * maintenance))


@inner
@no_type_check
def reached(side: int, log_price: float, level: float) -> bool:
    """Whether a price has come down to a long's level, or up to a short's."""
    return log_price <= level if side == LONG else log_price >= level


@inner
@no_type_check
def pick_venue(dice: Dice, venues: Venues) -> int:
    """A venue by its share of open interest."""
    if len(venues.margin) == 1:
        return 0
    return min(np.searchsorted(venues.cumulative, dice.extra.random(), "right"), len(venues.margin) - 1)


@inner
@no_type_check
def effective_leverage(rules: Rules, leverage: float, free: float) -> float:
    """Notional over margin and free balance, at least the lowest leverage there is."""
    return max(leverage / (1.0 + free), rules.leverage_min)


@njit(cache=True)
@no_type_check
def stop_log_price(dice: Dice, rules: Rules, book: Book, side: int, log_entry: float) -> float:
    """A little beyond a round number or a recent extreme, whichever this holder looks at."""
    away = -1.0 if side == LONG else 1.0
    beyond = away * rules.stop_beyond * dice.extra.standard_exponential()
    if dice.extra.random() < rules.stop_round_share:
        wish = math.exp(log_entry + away * rules.stop_reach * (0.25 + 1.5 * dice.extra.random())) / rules.round_usd
        whole = max(math.floor(wish) if side == LONG else math.ceil(wish), 1.0)
        return math.log(whole * rules.round_usd) + beyond
    extreme = min(book.now[1], log_entry) if side == LONG else max(book.now[2], log_entry)
    return extreme + beyond


@inner
@no_type_check
def enter_ledger(rules: Rules, book: Book, row: int, slot: int, opened: int, origin: int) -> None:
    """A new row of the ledger for a position as it stands: a part of that in row `origin`, if that is one."""
    if rules.detail == 0:
        return
    at = book.used[0]
    if at == len(book.times):
        raise ValueError("the ledger of positions is full: too many positions open within one sub-step")
    book.used[0] += 1
    book.serial[row, slot] = at
    times, prices = book.times[at], book.prices[at]
    times[0], times[1], times[2], times[3] = opened, -1, OPEN, row
    times[4], times[5] = 1 if book.free[row, slot] > 0.0 else 0, book.lots[row, slot]
    times[6] = at if origin < 0 else book.times[origin, 6]
    prices[0], prices[1], prices[2] = book.entry[row, slot], book.liquidation[row, slot], book.stop[row, slot]
    prices[3], prices[4] = book.leverage[row, slot], book.free[row, slot]


@inner
@no_type_check
def leave_ledger(rules: Rules, book: Book, row: int, slot: int, lots: int, why: int) -> int:
    """End a position's row, which keeps `lots`; returns the sub-step it was opened at."""
    if rules.detail == 0:
        return 0
    times = book.times[book.serial[row, slot]]
    times[1], times[2], times[5] = int(book.now[0]), why, lots
    return times[0]


@inner
@no_type_check
def open_position(
    dice: Dice, rules: Rules, venues: Venues, book: Book, row: int, lots: int, taker: bool, last: float, mark: float
) -> None:
    """Add a position with leverage of its own: the lowest, if the mark would liquidate it at once.

    `last` and `mark` are the shared log prices; the position sees those of its venue.
    """
    side, venue = row % 2, row // 2
    log_entry, log_mark = last + book.basis[venue], mark + book.basis[venue]
    centre = rules.taker_log_leverage if taker else rules.maker_log_leverage
    leverage = math.exp(centre + rules.leverage_sd * dice.agents.standard_normal())
    leverage = min(max(leverage, rules.leverage_min), rules.leverage_max)
    free = 0.0
    if rules.cross_share > 0.0 and dice.extra.random() < rules.cross_share:
        free = math.exp(rules.free_log_median + rules.free_log_sd * dice.extra.standard_normal())
    margin = venues.margin[venue]
    price = liquidation_log_price(log_entry, effective_leverage(rules, leverage, free), side, margin)
    if reached(side, log_mark, price):
        leverage, free = rules.leverage_min, 0.0
        price = liquidation_log_price(log_entry, leverage, side, margin)
    slot = book.alive[row]
    if slot == book.lots.shape[1]:
        raise ValueError("the book of positions is full: open interest wanders too far, lower open_interest_sd")
    book.alive[row] += 1
    book.lots[row, slot] = lots
    book.leverage[row, slot] = leverage
    book.entry[row, slot] = log_entry
    book.free[row, slot] = free
    book.total[venue, side] += lots
    set_liquidation(book, row, slot, price)
    book.stop[row, slot] = -np.inf if side == LONG else np.inf
    if rules.stop_share > 0.0 and dice.extra.random() < rules.stop_share:
        stop = stop_log_price(dice, rules, book, side, log_entry)
        before_liquidation = stop > price if side == LONG else stop < price
        if before_liquidation and not reached(side, log_entry, stop):
            book.stop[row, slot] = stop
            edge = book.stop_edge[row]
            book.stop_edge[row] = max(edge, stop) if side == LONG else min(edge, stop)
    enter_ledger(rules, book, row, slot, int(book.now[0]), -1)


@inner
@no_type_check
def set_liquidation(book: Book, row: int, slot: int, price: float) -> None:
    """Give a position its liquidation price, and the row its edge."""
    book.liquidation[row, slot] = price
    book.edge[row] = max(book.edge[row], price) if row % 2 == LONG else min(book.edge[row], price)


@inner
@no_type_check
def remove_position(rules: Rules, book: Book, row: int, slot: int, why: int) -> int:
    """Take a position off the book and return its lots; the last one moves into its place."""
    lots = book.lots[row, slot]
    leave_ledger(rules, book, row, slot, lots, why)
    last = book.alive[row] - 1
    book.alive[row] = last
    for column in (book.lots, book.serial):
        column[row, slot] = column[row, last]
    for column in (book.liquidation, book.leverage, book.entry, book.free, book.stop):
        column[row, slot] = column[row, last]
    book.total[row // 2, row % 2] -= lots
    return lots


@inner
@no_type_check
def reduce_position(rules: Rules, book: Book, row: int, slot: int, lots: int) -> None:
    """Close a part of a position. In the ledger it is as if there had always been two."""
    rest = book.lots[row, slot] - lots
    origin = book.serial[row, slot]
    opened = leave_ledger(rules, book, row, slot, lots, NETTED)
    book.lots[row, slot] = rest
    book.total[row // 2, row % 2] -= lots
    enter_ledger(rules, book, row, slot, opened, origin)


@inner
@no_type_check
def change_margin(
    dice: Dice, rules: Rules, venues: Venues, book: Book, row: int, slot: int, mark: float, rescue: bool
) -> None:
    """Give a position another free balance, and so another liquidation price; nothing of it is public.

    A `rescue` adds what leaves it, seen from the mark, the leverage of a newcomer, or the lowest if that is not enough.
    Without, the balance is drawn anew, and kept as it was if the mark has reached the new liquidation price.
    """
    side, venue = row % 2, row // 2
    log_mark = mark + book.basis[venue]
    if rescue:
        leverage = math.exp(rules.maker_log_leverage + rules.leverage_sd * dice.extra.standard_normal())
        leverage = min(max(leverage, rules.leverage_min), rules.leverage_max)
        price = liquidation_log_price(log_mark, leverage, side, venues.margin[venue])
        if reached(side, log_mark, price):
            price = liquidation_log_price(log_mark, rules.leverage_min, side, venues.margin[venue])
        free = book.free[row, slot]
    else:
        free = math.exp(rules.free_log_median + rules.free_log_sd * dice.extra.standard_normal())
        effective = effective_leverage(rules, book.leverage[row, slot], free)
        price = liquidation_log_price(book.entry[row, slot], effective, side, venues.margin[venue])
        if reached(side, log_mark, price):
            return
    leave_ledger(rules, book, row, slot, book.lots[row, slot], MARGIN)
    book.free[row, slot] = free
    set_liquidation(book, row, slot, price)
    enter_ledger(rules, book, row, slot, int(book.now[0]), -1)


@inner
@no_type_check
def draw_lots(rng: np.random.Generator, rules: Rules, log_price: float) -> int:
    """A Pareto notional, cut at the largest position allowed, in whole lots."""
    notional = min(rules.notional_min * (1.0 - rng.random()) ** (-1.0 / rules.notional_tail), rules.notional_max)
    return max(1, int(notional / (math.exp(log_price) * rules.lot_base)))


@njit(cache=True)
@no_type_check
def empty_book(venues: int, room: int, ledger_rows: int) -> Book:
    """Room for so many positions a row, and for so many rows of the ledger."""
    rows = 2 * venues
    lots, serial = np.zeros((rows, room), np.int64), np.zeros((rows, room), np.int64)
    liquidation, leverage, entry = np.zeros((rows, room)), np.zeros((rows, room)), np.zeros((rows, room))
    free, stop = np.zeros((rows, room)), np.zeros((rows, room))
    edge = np.where(np.arange(rows) % 2 == LONG, -np.inf, np.inf)
    total, basis, now = np.zeros((venues, 3), np.int64), np.zeros(venues), np.array([0.0, np.inf, -np.inf])
    return Book(
        np.zeros(rows, np.int64), lots, liquidation, leverage, entry, free, stop, serial, edge, edge.copy(), total,
        basis, now, np.zeros((ledger_rows, 7), np.int32), np.zeros((ledger_rows, 5)), np.zeros(1, np.int64),
    )  # fmt: skip


@njit(cache=True)
@no_type_check
def first_book(dice: Dice, rules: Rules, venues: Venues) -> Book:
    """One long and one short for each of the first contracts, all entered at the starting price."""
    book = empty_book(len(venues.margin), ROOM * rules.positions, 16 * rules.positions * rules.detail)
    for _ in range(rules.positions):
        size = draw_lots(dice.agents, rules, rules.log_price)
        venue = pick_venue(dice, venues)
        for side in (LONG, SHORT):
            taker = dice.agents.random() < 0.5
            open_position(dice, rules, venues, book, 2 * venue + side, size, taker, rules.log_price, rules.log_price)
    return book


@inner
@no_type_check
def with_room(book: Book) -> Book:
    """The book with a ledger twice as long."""
    times = np.concatenate((book.times, np.zeros_like(book.times)))
    prices = np.concatenate((book.prices, np.zeros_like(book.prices)))
    return Book(
        book.alive, book.lots, book.liquidation, book.leverage, book.entry, book.free, book.stop, book.serial,
        book.edge, book.stop_edge, book.total, book.basis, book.now, times, prices, book.used,
    )  # fmt: skip


@inner
@no_type_check
def hand_over(
    dice: Dice, rules: Rules, venues: Venues, book: Book, row: int, crowd: float, pace: float, last: float, mark: float
) -> tuple[int, int]:
    """Positions that close at will, each passed on to a newcomer; returns lots taken by buyers and by sellers.

    Higher leverage is held for less long. The newcomer is the taker when the crowd leans his way, else the one who
    leaves.
    """
    rng, side = dice.agents, row % 2
    bought, sold = 0, 0
    fastest = (rules.leverage_max / 10.0) ** 0.6
    for _ in range(rng.poisson(book.alive[row] * rules.close_chance * pace * fastest)):
        slot = int(rng.random() * book.alive[row])
        if rng.random() * fastest > (book.leverage[row, slot] / 10.0) ** 0.6:
            continue
        lots = remove_position(rules, book, row, slot, HANDED)
        newcomer_takes = rng.random() < (crowd if side == LONG else 1.0 - crowd)
        open_position(dice, rules, venues, book, row, lots, newcomer_takes, last, mark)
        if newcomer_takes == (side == LONG):
            bought += lots
        else:
            sold += lots
    return bought, sold


@inner
@no_type_check
def trade_net(
    dice: Dice,
    rules: Rules,
    venues: Venues,
    book: Book,
    wanted: float,
    crowd: float,
    pace: float,
    last: float,
    mark: float,
    taken: Any,
) -> None:
    """Open interest moves towards what is wanted; adds the lots that buyers and sellers took at each venue to `taken`.

    What a venue's market maker holds goes first: to newcomers while open interest should grow, against closing
    positions of the other side while it should fall. When he is flat, a pair opens (one long, one short) or an agent
    closes against him.
    """
    rng = dice.agents
    for _ in range(rng.poisson(rules.positions * rules.net_chance * pace)):
        venue = pick_venue(dice, venues)
        maker = book.total[venue, 2]
        open_lots = 0
        for each in range(len(venues.margin)):
            open_lots += max(book.total[each, LONG], book.total[each, SHORT])
        held = open_lots * rules.lot_base * math.exp(last)
        gap = math.log(wanted / held)
        if rng.random() > 0.1 + abs(gap) * 4.0 and maker == 0:
            continue
        grow = rng.random() < 0.5 + 2.0 * gap
        taker_long = rng.random() < crowd
        if grow and maker == 0:
            lots = draw_lots(rng, rules, last)
            open_position(dice, rules, venues, book, 2 * venue + LONG, lots, taker_long, last, mark)
            open_position(dice, rules, venues, book, 2 * venue + SHORT, lots, not taker_long, last, mark)
            buyer_takes = taker_long
        elif grow:
            side = LONG if maker > 0 else SHORT
            lots = min(draw_lots(rng, rules, last), abs(maker))
            open_position(dice, rules, venues, book, 2 * venue + side, lots, True, last, mark)
            book.total[venue, 2] -= lots if side == LONG else -lots
            buyer_takes = side == LONG
        else:
            side = int(rng.random() * 2) if maker == 0 else (SHORT if maker > 0 else LONG)
            row = 2 * venue + side
            if book.alive[row] < 2:
                continue
            slot = int(rng.random() * book.alive[row])
            if maker != 0 and book.lots[row, slot] > abs(maker):
                lots = abs(maker)
                reduce_position(rules, book, row, slot, lots)
            else:
                lots = remove_position(rules, book, row, slot, NETTED)
            book.total[venue, 2] += lots if side == LONG else -lots
            buyer_takes = side == SHORT
        taken[venue, 0 if buyer_takes else 1] += lots


@inner
@no_type_check
def thin_out(dice: Dice, rules: Rules, book: Book, row: int, last: float, mark: float) -> int:
    """Holders who leave a zone against the market maker; returns their lots.

    Hazard: `leave_chance · (exp(-distance of the liquidation price / leave_reach) + 1 - exp(-profit / leave_profit))`,
    distance and profit in log price.
    """
    side, venue = row % 2, row // 2
    closed = 0
    for _ in range(dice.extra.poisson(2.0 * book.alive[row] * rules.leave_chance)):
        if book.alive[row] < 2:
            break
        slot = int(dice.extra.random() * book.alive[row])
        near = math.exp(-abs(mark + book.basis[venue] - book.liquidation[row, slot]) / rules.leave_reach)
        gain = (last + book.basis[venue] - book.entry[row, slot]) * (1.0 if side == LONG else -1.0)
        eager = near + 1.0 - math.exp(-max(gain, 0.0) / rules.leave_profit)
        if 2.0 * dice.extra.random() < eager:
            lots = remove_position(rules, book, row, slot, LEFT)
            book.total[venue, 2] += lots if side == LONG else -lots
            closed += lots
    return closed


@njit(cache=True)
@no_type_check
def usd_per_log(rules: Rules, tape: Tape, calm: float) -> float:
    """USD that a forced order must take to move the price by one unit of its logarithm, as the book stands."""
    resistance = 1.0 + (tape.impact / rules.bargain) ** 2
    return rules.depth_usd * resistance / (0.01 * calm**rules.thinning * (1.0 + tape.drained))


@njit(cache=True)
@no_type_check
def pressed(rules: Rules, walls: WallBook, step: int, last: float, move: float, density: float) -> float:
    """What is left of a move once walls in its way have taken their share, which `walls.fresh` counts.

    A move is an order of `density` USD per unit of log price; a wall takes from it what it holds.
    """
    blocking = BID if move < 0.0 else ASK
    while True:
        nearest, at = -1, np.inf
        for slot in range(len(walls.live)):
            wall = walls.live[slot]
            ahead = (last - wall[0]) if blocking == BID else (wall[0] - last)
            if wall[2] > 0.0 and int(wall[1]) == blocking and 0.0 <= ahead <= abs(move) and ahead < at:
                nearest, at = slot, ahead
        if nearest < 0:
            return move
        wall = walls.live[nearest]
        bite = min((abs(move) - at) * density, wall[2])
        wall[2] -= bite
        walls.fresh[int(wall[5])] += bite
        row = walls.log[int(wall[4])]
        row[EATEN] += bite
        move = math.copysign(max(abs(move) - bite / density, at), move)
        if wall[2] > 0.0:
            return move
        row[REMOVED], row[WALL_END] = step, TAKEN


@inner
@no_type_check
def tend_walls(dice: Dice, rules: Rules, venues: Venues, walls: WallBook, step: int, last: float) -> None:
    """Spoofed walls flee from the price, old ones expire, and now and then a new one is placed."""
    vacant = -1
    for slot in range(len(walls.live)):
        wall = walls.live[slot]
        if wall[2] > 0.0:
            flees = wall[3] == 0.0 and abs(wall[0] - last) < rules.wall_flee
            if flees or dice.extra.random() < rules.wall_end_chance:
                wall[2] = 0.0
                row = walls.log[int(wall[4])]
                row[REMOVED], row[WALL_END] = step, PULLED if flees else EXPIRED
        if wall[2] <= 0.0:
            vacant = slot
    if vacant < 0 or dice.extra.random() >= rules.wall_chance:
        return
    at = walls.used[0]
    if at == len(walls.log):
        raise ValueError("the log of walls is full")
    walls.used[0] += 1
    side = BID if dice.extra.random() < 0.5 else ASK
    away = rules.wall_distance * (0.5 + dice.extra.random()) * (-1.0 if side == BID else 1.0)
    usd = min(rules.wall_usd * (1.0 - dice.extra.random()) ** (-1.0 / rules.wall_tail), 20.0 * rules.wall_usd)
    genuine = 1.0 if dice.extra.random() < rules.wall_genuine else 0.0
    venue = pick_venue(dice, venues)
    walls.live[vacant] = np.array([last + away, side, usd, genuine, at, venue])
    walls.log[at] = np.array([step, -1.0, side, venue, genuine, STANDS, last + away, usd, 0.0])


@njit(cache=True)
@no_type_check
def hit_book(
    rules: Rules, walls: WallBook, side: int, lots: int, step: int, log_mark: float, calm: float, tape: Tape
) -> Tape:
    """Where the price stands after a forced order of so many lots; a long's is a sale.

    A sale of `depth_usd` moves a full book 1 % at ordinary volatility. The book is thinner when volatility is high and
    where forced orders have just taken from it, and thicker where bargain hunters wait: the further forced orders have
    pushed the price. Part of the move stays, the rest fades.
    """
    index, impact, drained, last = tape
    sign = -1.0 if side == LONG else 1.0
    share = lots * rules.lot_base * math.exp(log_mark) / rules.depth_usd
    resistance = 1.0 + (impact / rules.bargain) ** 2
    move = sign * min(0.01 * share * calm**rules.thinning * (1.0 + drained) / resistance, 0.02)
    if rules.wall_chance > 0.0:
        move = pressed(rules, walls, step, last, move, usd_per_log(rules, tape, calm))
    drained = min(drained + share, 1.0)
    index += rules.permanent * move
    impact += (1.0 - rules.permanent) * move
    last += move
    return Tape(index, impact, drained, last)


@inner
@no_type_check
def force_out(
    rules: Rules,
    venues: Venues,
    book: Book,
    walls: WallBook,
    row: int,
    slot: int,
    log_mark: float,
    calm: float,
    tape: Tape,
    prints: Any,
    printed: int,
) -> tuple[Tape, Any, int]:
    """Liquidate one position: the market maker takes the lots over, the book is hit, the order is printed."""
    side, venue, step = row % 2, row // 2, int(book.now[0])
    price = book.liquidation[row, slot]
    bankrupt = price + math.log1p((-1.0 if side == LONG else 1.0) * venues.margin[venue])
    lots = remove_position(rules, book, row, slot, LIQUIDATED)
    book.total[venue, 2] += lots if side == LONG else -lots
    tape = hit_book(rules, walls, side, lots, step, log_mark, calm, tape)
    if printed == len(prints):
        prints = np.concatenate((prints, np.empty_like(prints)))
    left = tape.last + book.basis[venue]
    prints[printed] = np.array((float(step), float(side), float(lots), log_mark, price, left, float(venue), bankrupt))
    return tape, prints, printed + 1


@inner
@no_type_check
def enforce_margin(
    dice: Dice,
    rules: Rules,
    venues: Venues,
    book: Book,
    walls: WallBook,
    row: int,
    mark: float,
    calm: float,
    tape: Tape,
    prints: Any,
    printed: int,
) -> tuple[Tape, Any, int]:
    """Force out every position of a row whose liquidation price the mark has reached; each order moves the last price.

    Where zones matter less than fully, a position may instead be saved by margin that its holder adds.
    """
    side, log_mark = row % 2, mark + book.basis[row // 2]
    edge, slot = (-np.inf if side == LONG else np.inf), 0
    while slot < book.alive[row]:
        price = book.liquidation[row, slot]
        if reached(side, log_mark, price):
            if rules.real_share == 1.0 or dice.extra.random() < rules.real_share:
                tape, prints, printed = force_out(
                    rules, venues, book, walls, row, slot, log_mark, calm, tape, prints, printed
                )
                continue
            change_margin(dice, rules, venues, book, row, slot, mark, True)
            price = book.liquidation[row, slot]
        edge = max(edge, price) if side == LONG else min(edge, price)
        slot += 1
    book.edge[row] = edge
    return tape, prints, printed


@inner
@no_type_check
def run_stops(
    rules: Rules, book: Book, walls: WallBook, row: int, mark: float, calm: float, tape: Tape
) -> tuple[Tape, int]:
    """Close every position of a row whose stop the last price has reached; each order moves it on. Returns the lots."""
    side, venue = row % 2, row // 2
    edge, slot, closed = (-np.inf if side == LONG else np.inf), 0, 0
    while slot < book.alive[row]:
        stop = book.stop[row, slot]
        if reached(side, tape.last + book.basis[venue], stop):
            lots = remove_position(rules, book, row, slot, STOPPED)
            book.total[venue, 2] += lots if side == LONG else -lots
            tape = hit_book(rules, walls, side, lots, int(book.now[0]), mark, calm, tape)
            closed += lots
            continue
        edge = max(edge, stop) if side == LONG else min(edge, stop)
        slot += 1
    book.stop_edge[row] = edge
    return tape, closed


@inner
@no_type_check
def force_anyone(
    dice: Dice,
    rules: Rules,
    venues: Venues,
    book: Book,
    walls: WallBook,
    side: int,
    excited: Any,
    mark: float,
    calm: float,
    tape: Tape,
    prints: Any,
    printed: int,
) -> tuple[Tape, Any, int]:
    """Forced orders that follow volatility, and their own kind, alone: they hit anybody, wherever his margin ends.

    A Hawkes process: `(1 - branching) · rate · calm^power` come by themselves, each draws `branching` more on average.
    """
    excited[side] *= rules.null_decay
    alone = (1.0 - rules.null_branching) * rules.null_rate * calm**rules.null_power
    for _ in range(dice.extra.poisson(alone + excited[side])):
        row = 2 * pick_venue(dice, venues) + side
        if book.alive[row] < 2:
            continue
        slot = int(dice.extra.random() * book.alive[row])
        log_mark = mark + book.basis[row // 2]
        tape, prints, printed = force_out(rules, venues, book, walls, row, slot, log_mark, calm, tape, prints, printed)
        excited[side] += rules.null_branching * (1.0 - rules.null_decay) / rules.null_decay
    return tape, prints, printed


@inner
@no_type_check
def note(ohlc: Any, prices: Any, row: int, price: float) -> None:
    """Stretch each venue's bar to a shared price."""
    for venue in range(len(prices)):
        bar, at = ohlc[venue, row], price + prices[venue]
        bar[1] = max(bar[1], at)
        bar[2] = min(bar[2], at)


@inner
@no_type_check
def near_usd(rules: Rules, book: Book, row: int, mark: float, reach: float) -> float:
    """USD of open positions of a row whose liquidation price lies within `reach` of the mark."""
    log_mark = mark + book.basis[row // 2]
    lots = 0
    for slot in range(book.alive[row]):
        if abs(book.liquidation[row, slot] - log_mark) <= reach:
            lots += book.lots[row, slot]
    return lots * rules.lot_base * math.exp(log_mark)


@njit(cache=True)
@no_type_check
def first_state(rules: Rules, book: Book) -> Any:
    """The hidden state of a market that has just begun."""
    state = np.zeros(BASIS + len(book.basis))
    state[INDEX] = state[LAST] = state[MARK] = rules.log_price
    state[VARIANCE] = rules.sigma**2
    state[START_USD] = book.total[:, LONG].sum() * rules.lot_base * math.exp(rules.log_price)
    return state


@njit(cache=True)
@no_type_check
def run_market(
    dice: Dice,
    rules: Rules,
    venues: Venues,
    outside: Outside,
    book: Book,
    state: Any,
    walls: WallBook,
    recent: Any,
) -> Played:
    """Play every sub-step: the world moves, the mark follows, margins are enforced, agents trade.

    Begins with the positions of `book`, which is changed, in `state`; `recent` holds the lows and the highs of the last
    `RECENT_MINUTES` minutes.
    """
    minutes, warm, count = rules.minutes, rules.warm_up_minutes, len(venues.margin)
    last_ohlc, mark_ohlc = np.empty((count, minutes, 4)), np.empty((count, minutes, 4))
    volume, held = np.zeros((count, minutes, 2)), np.zeros((count, minutes, 3), np.int64)
    premium, at_risk = np.zeros((count, minutes)), np.zeros((minutes, 2))
    prints, printed = np.empty((4096, 8)), 0
    kept = minutes * rules.detail
    path, basis_of = np.empty((kept * rules.substeps, 3)), np.empty((kept * rules.substeps, count))
    flow = np.empty((kept * rules.substeps, count, 2))
    open_lots = np.empty((kept * rules.substeps, count), np.int64)
    hidden, standing = np.empty((kept, len(state))), np.empty((kept, len(walls.live), 6))
    index, impact, trend, mark_basis, drained = (
        state[INDEX],
        state[IMPACT],
        state[TREND],
        state[MARK_BASIS],
        state[DRAINED],
    )
    last, mark, variance, start_usd = state[LAST], state[MARK], state[VARIANCE], state[START_USD]
    excited = state[EXCITED:BASIS].copy()
    venue_basis = book.basis
    venue_basis[:] = state[BASIS:]
    shares = np.diff(np.concatenate((np.zeros(1), venues.cumulative)))
    for minute in range(-warm, minutes):
        row = max(minute, 0)
        for venue in range(count):
            last_ohlc[venue, row] = last + venue_basis[venue]
            mark_ohlc[venue, row] = mark + venue_basis[venue]
        taken, basis_sum = np.zeros((count, 2), np.int64), np.zeros(count)
        noise_base, noise_bought = 0.0, 0.0
        if rules.stop_share > 0.0:
            book.now[1], book.now[2] = recent[0].min(), recent[1].max()
        low, high = last, last
        for sub in range(rules.substeps):
            step = (minute + warm) * rules.substeps + sub
            book.now[0] = step
            if rules.detail == 1 and len(book.times) - book.used[0] < 4 * rules.positions:
                book = with_room(book)
            sigma, bias = outside.sigma[step], outside.bias[step]
            calm = sigma / rules.sigma
            before = last
            if rules.basis_sd > 0.0:
                for venue in range(count):
                    step_sd = rules.basis_sd * math.sqrt(1.0 - rules.basis_decay**2)
                    venue_basis[venue] = venue_basis[venue] * rules.basis_decay + step_sd * dice.extra.standard_normal()
            if rules.wall_chance > 0.0:
                tend_walls(dice, rules, venues, walls, step, last)
            index += outside.change[step]
            impact *= rules.impact_decay
            drained *= rules.refill_decay
            basis = impact + rules.basis_per_bias * bias
            mark_basis += rules.mark_rate * (basis - mark_basis)
            last, mark = index + basis, index + mark_basis
            ordinary = np.zeros((count, 2), np.int64)
            if rules.wall_chance > 0.0:
                density = usd_per_log(rules, Tape(index, impact, drained, last), calm)
                walls.fresh[:] = 0.0
                move = pressed(rules, walls, step, before, last - before, density)
                shift = move - (last - before)
                for venue in range(count):
                    eaten_lots = int(walls.fresh[venue] / (math.exp(last) * rules.lot_base))
                    ordinary[venue, 0 if move > 0.0 else 1] += eaten_lots
                index, last, mark = index + shift, last + shift, mark + shift
            note(last_ohlc, venue_basis, row, last)
            note(mark_ohlc, venue_basis, row, mark)
            low, high = min(low, last), max(high, last)
            quiet = last
            tape = Tape(index, impact, drained, last)
            first = printed
            for each in range(2 * count):
                if reached(each % 2, mark + venue_basis[each // 2], book.edge[each]):
                    tape, prints, printed = enforce_margin(
                        dice, rules, venues, book, walls, each, mark, calm, tape, prints, printed
                    )
                    note(last_ohlc, venue_basis, row, tape.last)
            if rules.null_rate > 0.0:
                for side in (LONG, SHORT):
                    tape, prints, printed = force_anyone(
                        dice, rules, venues, book, walls, side, excited, mark, calm, tape, prints, printed
                    )
                    note(last_ohlc, venue_basis, row, tape.last)
            if rules.stop_share > 0.0:
                for each in range(2 * count):
                    if reached(each % 2, tape.last + venue_basis[each // 2], book.stop_edge[each]):
                        tape, closed = run_stops(rules, book, walls, each, mark, calm, tape)
                        ordinary[each // 2, 1 - each % 2] += closed
                        note(last_ohlc, venue_basis, row, tape.last)
            for number in range(first, printed):
                prints[number, 0] += (number - first + 1.0) / (printed - first + 1.0)
                seller = prints[number, 1] == LONG
                taken[int(prints[number, 6]), 1 if seller else 0] += int(prints[number, 2])
            index, impact, drained, last = tape
            low, high = min(low, last), max(high, last)
            trend = trend * rules.trend_decay + (1.0 - rules.trend_decay) * outside.change[step] / rules.sigma
            crowd = 0.5 + 0.35 * math.tanh(0.7 * bias + 0.35 * trend / math.sqrt(0.5 * (1.0 - rules.trend_decay)))
            pace = math.sqrt(calm)
            for each in range(2 * count):
                bought, sold = hand_over(dice, rules, venues, book, each, crowd, pace, last, mark)
                ordinary[each // 2, 0] += bought
                ordinary[each // 2, 1] += sold
                if rules.leave_chance > 0.0:
                    ordinary[each // 2, 1 - each % 2] += thin_out(dice, rules, book, each, last, mark)
                if rules.margin_chance > 0.0:
                    for _ in range(dice.extra.poisson(book.alive[each] * rules.margin_chance)):
                        slot = int(dice.extra.random() * book.alive[each])
                        if book.free[each, slot] > 0.0:
                            change_margin(dice, rules, venues, book, each, slot, mark, False)
            wanted = start_usd * outside.target[step]
            trade_net(dice, rules, venues, book, wanted, crowd, pace, last, mark, ordinary)
            noise = rules.noise_usd * calm**0.8 * math.exp(0.5 * dice.agents.standard_normal() - 0.125) / math.exp(last)
            buys = noise * (0.5 + 0.3 * math.tanh(0.6 * (last - before) / sigma) + 0.1 * (crowd - 0.5))
            noise_base += noise
            noise_bought += buys
            taken += ordinary
            for venue in range(count):
                basis_sum[venue] += math.expm1(last + venue_basis[venue] - index)
            if minute >= 0 and rules.detail == 1:
                at = row * rules.substeps + sub
                path[at, 0], path[at, 1], path[at, 2] = quiet, last, mark
                for venue in range(count):
                    basis_of[at, venue] = venue_basis[venue]
                    flow[at, venue, 0] = ordinary[venue, 0] * rules.lot_base + buys * shares[venue]
                    flow[at, venue, 1] = ordinary[venue, 1] * rules.lot_base + (noise - buys) * shares[venue]
                    open_lots[at, venue] = max(book.total[venue, LONG], book.total[venue, SHORT])
        opened = last_ohlc[0, row, 0]
        variance += (1.0 - 0.5 ** (1.0 / 60.0)) * ((last + venue_basis[0] - opened) ** 2 - variance)
        recent[0, minute % RECENT_MINUTES], recent[1, minute % RECENT_MINUTES] = low, high
        if minute < 0:
            printed = 0
            continue
        for venue in range(count):
            last_ohlc[venue, row, 3], mark_ohlc[venue, row, 3] = last + venue_basis[venue], mark + venue_basis[venue]
            lots = taken[venue, 0] + taken[venue, 1]
            volume[venue, row, 0] = noise_base * shares[venue] + lots * rules.lot_base
            volume[venue, row, 1] = noise_bought * shares[venue] + taken[venue, 0] * rules.lot_base
            held[venue, row] = book.total[venue]
            premium[venue, row] = basis_sum[venue] / rules.substeps
            for side in (LONG, SHORT):
                at_risk[row, side] += near_usd(rules, book, 2 * venue + side, mark, math.sqrt(60.0 * variance))
        if rules.detail == 1:
            hidden[row, :EXCITED] = np.array(
                [index, impact, drained, last, mark, trend, mark_basis, variance, start_usd]
            )
            hidden[row, EXCITED:BASIS] = excited
            hidden[row, BASIS:] = venue_basis
            standing[row] = walls.live
    return Played(
        last_ohlc, mark_ohlc, volume, held, premium, at_risk, prints[:printed].copy(),
        path, basis_of, flow, open_lots, hidden, standing, book, walls,
    )  # fmt: skip
