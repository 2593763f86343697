"""One function for each state of the signal machine: where a side goes from there at this look, or None if it stays.

The conditions are in `machine_rules`, what is kept in `machine_memory`; here is only their order.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.signals import exits, machine_rules
from squeeze.signals.entries import advise, waits
from squeeze.signals.machine_look import Look
from squeeze.signals.machine_memory import Cascade, SideMemory
from squeeze.signals.message import State
from squeeze.signals.sizing import thickness_rank
from squeeze.signals.transition import Kind, signal_id
from squeeze.signals.view import ZoneView


class Move(NamedTuple):
    """A way out of a state, or an update within it."""

    kind: Kind
    state: State
    codes: tuple[str, ...]
    mind: SideMemory
    """What the side then remembers, but for its state, since when it is in it, and `seq`."""
    r_multiple: float | None = None
    """Of a trade that is over."""


def watch(look: Look, mind: SideMemory) -> SideMemory:
    """What a look adds to a side's memory, whatever its state."""
    over = look.probability >= look.limits.p_on
    over_since = None if not over else look.now_ns if mind.over_since_ns is None else mind.over_since_ns
    zone = mind.zone and (machine_rules.seen(look.view, mind.zone) or mind.zone)
    cascade, trade = mind.cascade, mind.trade
    if cascade is not None and mind.state in ("triggered", "cascade"):
        cascade = _watch_cascade(look, cascade)
    if trade is not None and mind.state == "managed":
        trade = exits.watch(trade, look.view, look.probability, look.strategy.exits)
    return replace(mind, over_since_ns=over_since, zone=zone, zone_before=mind.zone, cascade=cascade, trade=trade)


def _watch_cascade(look: Look, cascade: Cascade) -> Cascade:
    view, rules = look.view, look.strategy.cascade
    outward = machine_rules.OUTWARD[look.side]
    furthest = machine_rules.extreme(view, look.side)
    is_new = outward * (furthest - cascade.extreme) > 0
    peak_usd = max(cascade.peak_usd_minute, view.liquidated_60s_usd[look.side])  # the first wins against NaN
    volume = view.volume_60s_usd
    peak_volume = volume if math.isnan(cascade.peak_volume_usd) else max(cascade.peak_volume_usd, volume)
    if cascade.is_price_only:
        is_quiet = volume <= rules.price_only_end_share * peak_volume
    else:
        is_quiet = view.liquidated_60s_usd[look.side] < rules.end_share * peak_usd
    quiet_since = None if not is_quiet else look.now_ns if cascade.quiet_since_ns is None else cascade.quiet_since_ns
    return replace(
        cascade,
        extreme=furthest if is_new else cascade.extreme,
        extreme_ns=look.now_ns if is_new else cascade.extreme_ns,
        peak_usd_minute=peak_usd,
        peak_volume_usd=peak_volume,
        quiet_since_ns=quiet_since,
        cleared_usd=view.liquidated_total_usd[look.side] - cascade.before_usd,
    )


def idle(look: Look, mind: SideMemory) -> Move | None:
    """A zone is worth watching, and the inputs are whole: the model speaks."""
    found = machine_rules.zone_ahead(look.view, look.side, look.strategy.zones)
    if found is None or math.isnan(look.probability):
        return None
    zone, code = found
    name = signal_id(look.limits.symbol, look.direction, zone.id, look.now_ns // 1_000_000, look.limits.model)
    setup = SideMemory(
        signal_id=name,
        zone=zone,
        distance_log=zone.near_log,
        over_since_ns=mind.over_since_ns,
        clearings=mind.clearings,
    )
    return Move("state", "zone_ahead", (code,), setup)


def zone_ahead(look: Look, mind: SideMemory) -> Move | None:
    """The price runs toward the zone and the probability is over the threshold for long enough; or it is given up."""
    zone, strategy = _reached_for(mind), look.strategy
    if (reason := _given_up(look, mind, strategy.zones.timer_minutes)) is not None:
        return Move("cancel", "idle", (reason,), mind)
    sure = mind.over_since_ns is not None and look.now_ns - mind.over_since_ns >= look.limits.confirm_ns
    if sure and machine_rules.is_approaching(look.view, zone, strategy):
        return Move("state", "approach", ("fast_approach", "probability_over_threshold"), mind)
    return None


def approach(look: Look, mind: SideMemory) -> Move | None:
    """The zone gives way; or it is given up."""
    zone, view = _reached_for(mind), look.view
    by = machine_rules.trigger(view, zone, look.memory.is_open_interest_falling, look.strategy)
    if by is None:
        reason = _given_up(look, mind, look.strategy.approach.timer_minutes)
        return None if reason is None else Move("cancel", "idle", (reason,), mind)
    before_usd = view.liquidated_total_usd[look.side] - machine_rules.lately(view, look.side, look.strategy.trigger)[0]
    cascade = Cascade(
        triggered_ns=look.now_ns,
        triggered_mark=view.mark,
        is_price_only=by == "volume",
        before_usd=before_usd,
        open_interest_base=look.memory.open_interest_before_base,
        edge=zone.high if look.side == 0 else zone.low,
        zone_ids=(zone.id,),
        zones_usd=zone.mass_usd,
        thickness_rank=zone.thickness_rank,
        extreme=machine_rules.extreme(view, look.side),
        extreme_ns=look.now_ns,
    )
    return Move("state", "triggered", (f"triggered_by_{by}",), replace(mind, cascade=_watch_cascade(look, cascade)))


def triggered(look: Look, mind: SideMemory) -> Move | None:
    """It becomes a cascade; or it was a false break, or nothing."""
    cascade = _cascade(mind)
    if cascade.is_price_only:
        begun = machine_rules.is_price_onset(look.view, look.side, cascade, look.strategy)
    else:
        begun = machine_rules.is_onset(look.view, look.side, look.strategy)
    if begun:
        code = "onset_by_price" if cascade.is_price_only else "onset"
        return Move("state", "cascade", (code,), replace(mind, cascade=replace(cascade, onset_ns=look.now_ns)))
    if machine_rules.is_false_break(look.view, look.side, cascade, look.strategy):
        return Move("cancel", "invalidated", ("false_break",), mind)
    if look.now_ns - cascade.triggered_ns >= look.strategy.trigger.timeout_seconds * SECOND_NS:
        return Move("cancel", "invalidated", ("no_onset",), mind)
    return None


def cascade(look: Look, mind: SideMemory) -> Move | None:
    """The next zone of a stack is reached, or it is over. There is no way from here to an entry."""
    now, rules = _cascade(mind), look.strategy.cascade
    if zones := machine_rules.entered(look.view, look.side, _zone(mind), now):
        ranks = [rank for rank in (now.thickness_rank, *(z.thickness_rank for z in zones)) if not math.isnan(rank)]
        further = replace(
            now,
            zone_ids=(*now.zone_ids, *(z.id for z in zones)),
            zones_usd=now.zones_usd + sum(z.mass_usd for z in zones),
            thickness_rank=max(ranks, default=math.nan),
        )
        return Move("state", "cascade", ("next_zone",), replace(mind, zone=zones[-1], cascade=further))
    end_ns = rules.end_seconds * SECOND_NS
    is_quiet = now.quiet_since_ns is not None and look.now_ns - now.quiet_since_ns >= end_ns
    if is_quiet and look.now_ns - now.extreme_ns >= end_ns:
        return Move("state", "aftermath", ("cascade_over",), _cleared(look, mind))
    if look.now_ns - now.triggered_ns >= rules.cap_minutes * MINUTE_NS:
        return Move("cancel", "done", ("cascade_too_long",), mind)
    return None


def _cleared(look: Look, mind: SideMemory) -> SideMemory:
    """The cascade is over: what it cleared is ranked among the side's clearings, and joins them."""
    now, rules = _cascade(mind), look.strategy.risk
    share = math.nan if now.is_price_only else now.cleared_usd / (look.view.open_interest_base * look.view.mark)
    earlier = machine_rules.recent(mind.clearings, look.now_ns, rules.thickness_days)
    rank = thickness_rank(share, tuple(s for _, s in earlier), rules.least_clearings, now.thickness_rank)
    ended = replace(now, end_ns=now.quiet_since_ns, thickness=rank, open_interest_end_base=look.view.open_interest_base)
    return replace(mind, cascade=ended, clearings=earlier if math.isnan(share) else (*earlier, (look.now_ns, share)))


def aftermath(look: Look, mind: SideMemory) -> Move | None:
    """Calm enough for an entry that keeps every limit; or there is no trade, with the reason."""
    if look.other.state == "cascade":
        return Move("cancel", "done", ("opposite_cascade",), mind)
    missing = waits(look, _cascade(mind))
    if look.now_ns - mind.since_ns >= look.strategy.entry.window_minutes * MINUTE_NS:
        return Move("cancel", "done", ("aftermath_over", *missing), mind)
    if missing:
        return None
    advised = advise(look, mind)
    if isinstance(advised, tuple):
        return None if advised[0].startswith("waits_for_") else Move("cancel", "done", ("no_trade", *advised), mind)
    return Move("entry", "entry", ("aftermath_calm", f"mode_{advised.mode}"), replace(mind, trade=advised))


def entry(look: Look, mind: SideMemory) -> Move | None:
    """Filled, or expired. On paper it is filled where a later look's prices touch the band, at its worse end."""
    trade = mind.trade
    if trade is None:
        raise AssertionError("an entry without a trade")
    is_paper = look.strategy.entry.fills == "paper"
    if is_paper and look.now_ns > trade.issued_ns and look.now_ns <= trade.expires_ns and _touches(look, mind):
        trade = replace(
            trade, filled_ns=look.now_ns, filled_price=trade.entry, filled=trade.quantity, held=trade.quantity
        )
    if trade.filled_ns is not None:
        return Move("state", "managed", ("filled",), replace(mind, trade=replace(trade, best=trade.filled_price)))
    if look.now_ns >= trade.expires_ns:
        return Move("cancel", "done", ("entry_expired",), mind)
    return None


def _touches(look: Look, mind: SideMemory) -> bool:
    view, trade = look.view, mind.trade
    if trade is None:
        return False
    mid = (view.bid + view.ask) / 2
    if not math.isnan(mid):
        return trade.entry_low <= mid <= trade.entry_high
    low, high = (price if not math.isnan(price) else view.mark for price in (view.mark_low, view.mark_high))
    return low <= trade.entry_high and high >= trade.entry_low


def managed(look: Look, mind: SideMemory) -> Move | None:
    """Stop, time, momentum, target, trail, in this order."""
    if mind.trade is None:
        raise AssertionError("a managed side without a trade")
    found = exits.manage(mind.trade, look.view, look.strategy)
    if found is None:
        return None
    mind = replace(mind, trade=found.trade)
    if found.r_multiple is None:
        return Move("update", "managed", found.codes, mind)
    return Move("exit", "done", found.codes, mind, found.r_multiple)


def resting(look: Look, mind: SideMemory) -> Move | None:
    """Done or invalidated: nothing of this side for a while."""
    if look.now_ns - mind.since_ns < look.limits.rest_ns:
        return None
    return Move("state", "idle", ("rested",), replace(mind, signal_id=""))


def stale(look: Look, mind: SideMemory) -> Move | None:
    """Healthy for long enough: the machine begins again, and what was under way is over."""
    since = look.memory.healthy_since_ns
    if since is None or look.now_ns - since < look.strategy.health.healthy_seconds * SECOND_NS:
        return None
    return _begin_again(look, mind, "healthy_again")


def halted(look: Look, mind: SideMemory) -> Move | None:
    """Resumed, or a new day: likewise, through `stale` if the inputs are."""
    if look.must_halt(mind):
        return None
    return Move("state", "stale", look.stale, mind) if look.stale else _begin_again(look, mind, "resumed")


def _begin_again(look: Look, mind: SideMemory, code: str) -> Move:
    trade = mind.trade
    if trade is not None and trade.filled_ns is not None:
        result = exits.r_multiple(trade, look.view.mark, look.strategy.account)
        return Move("exit", "idle", (code, "not_watched"), mind, result)
    return Move("cancel" if mind.signal_id else "state", "idle", (code,), mind)


def _given_up(look: Look, mind: SideMemory, timer_minutes: float) -> str | None:
    if look.now_ns - mind.since_ns >= timer_minutes * MINUTE_NS:
        return "timer"
    return machine_rules.given_up(look.view, _reached_for(mind), mind.distance_log, look.strategy.zones)


def _zone(mind: SideMemory) -> ZoneView:
    if mind.zone is None:
        raise AssertionError(f"{mind.state} without a zone")
    return mind.zone


def _reached_for(mind: SideMemory) -> ZoneView:
    return machine_rules.reached_for(_zone(mind), mind.zone_before)


def _cascade(mind: SideMemory) -> Cascade:
    if mind.cascade is None:
        raise AssertionError(f"{mind.state} without a cascade")
    return mind.cascade


NEXT: dict[State, Callable[[Look, SideMemory], Move | None]] = {
    "idle": idle,
    "zone_ahead": zone_ahead,
    "approach": approach,
    "triggered": triggered,
    "cascade": cascade,
    "aftermath": aftermath,
    "entry": entry,
    "managed": managed,
    "done": resting,
    "invalidated": resting,
    "stale": stale,
    "halted": halted,
}
