"""The slow, obvious twin of the zone tracker: plain lists, every sample and mass kept, everything looked up anew."""

import math

from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.patterns.scene import ENDINGS
from squeeze.zones.extract import zones


class Held:
    """A zone that has not ended."""

    def __init__(self, number, parent, close_ns):
        self.id, self.split_from, self.born_ns = number, parent, close_ns
        self.seen_steps = self.missed = self.touched_ns = self.into = 0
        self.ending = "alive"
        self.samples = []


class NaiveTracker:
    """`ZoneTracker`, from the words of its module."""

    def __init__(self, spec, frame, bin_log):
        self.spec, self.frame, self.bin_log = spec, frame, bin_log
        self.reach_bins = round(frame.zone_reach_log / bin_log)
        self.cadence_ns = round(spec.sample_minutes * MINUTE_NS)
        self.held, self.next_ids, self.masses = [[], []], [1, 1], [[], []]

    def step(self, share, born_share_days, mark, mark_low, mark_high, open_interest_base, close_ns):
        """Rows by the names of ZONE: seen, and ended."""
        seen, ended = [], []
        found = []
        if not all(math.isnan(s) for s in share.ravel()):
            found = zones(share, born_share_days, close_ns / DAY_NS, self.bin_log, self.frame)
        here = math.floor(math.log(mark) / self.bin_log)
        around = math.log(mark_low) / self.bin_log, math.log(mark_high) / self.bin_log
        for side in range(2):
            there = [self.placed(z, here, open_interest_base) for z in found if z.side == side]
            now, over = self.follow(side, there, around, close_ns)
            seen += [self.row(held, side, close_ns) for held in now]
            ended += [self.row(held, side, close_ns, over=True) for held in over]
        return seen, ended

    def placed(self, zone, here, coins):
        near, far = round(zone.near_log / self.bin_log), round(zone.far_log / self.bin_log)
        if zone.side == 0:
            low, end, place = here + 1 - far, here + 1 - near, (here + 1) * self.bin_log - zone.centroid_log
        else:
            low, end, place = here + near, here + far, here * self.bin_log + zone.centroid_log
        return {
            "near_log": zone.near_log,
            "far_log": zone.far_log,
            "centroid_log": zone.centroid_log,
            "place_log": place,
            "low_bin": low,
            "end_bin": end,
            "peak_share": zone.peak_share,
            "mass_share": zone.mass_share,
            "mass_base": zone.mass_share * coins,
            "mass_usd": zone.mass_share * coins * math.exp(place),
            "age_days": zone.age_days,
        }

    def follow(self, side, found, around, close_ns):
        spec, before, over = self.spec, [], []
        for held in self.held[side]:
            width = held.place["end_bin"] - held.place["low_bin"]
            if depth(held.place, side, around) > 0 and not held.touched_ns:
                held.touched_ns = close_ns
            if depth(held.place, side, around) < width:
                before.append(held)
            else:
                held.ending = held.ending if held.ending in ("merged", "split") else "swept"
                over.append(held)
        heaviest = sorted(range(len(found)), key=lambda i: (-found[i]["mass_share"], i))[: spec.zones_per_side]
        crowded, found = len(heaviest) < len(found), [found[i] for i in sorted(heaviest)]
        owners = match([held.place for held in before], found, spec.least_iou, spec.centroid_log)
        parents = [parent(place, before, spec.part_share) for place in found]
        now = []
        for place, owner, number in zip(found, owners, parents, strict=True):
            if owner is None:
                held = Held(self.next_ids[side], number, close_ns)
                self.next_ids[side] += 1
            else:
                held = before[owner]
            place["major"] = int(self.is_major(side, place["mass_share"], close_ns))
            held.place, held.missed, held.ending, held.into = place, 0, "alive", 0
            held.seen_steps += 1
            if not held.samples or close_ns - held.samples[-1][0] >= self.cadence_ns:
                held.samples.append((close_ns, place["mass_share"], place["mass_base"], place["place_log"]))
            now.append(held)
        self.masses[side] += [(close_ns, bucket(place["mass_share"])) for place in found]
        missed = [held for held in before if held not in now]
        for held in missed:
            held.missed += 1
            if held.missed == 1:
                held.ending, held.into = self.reason(held.place, side, now, around, crowded)
        lost = [held for held in missed if held.missed > spec.grace_steps]
        waiting = sorted((h for h in missed if h.missed <= spec.grace_steps), key=lambda h: (h.missed, h.id))
        room = spec.zones_per_side - len(now)
        self.held[side] = sorted(now + waiting[:room], key=lambda h: h.id)
        return now, sorted(over + lost + waiting[room:], key=lambda h: h.id)

    def is_major(self, side, mass, close_ns):
        """Whether at most a tenth of the weight lies over it."""
        held = self.masses[side]
        if not held or close_ns - held[0][0] < DAY_NS:
            return False
        weights = [(number, math.exp((at_ns - close_ns) / (30 * DAY_NS))) for at_ns, number in held]
        over = sum(weight for number, weight in weights if number > bucket(mass))
        return over <= 0.1 * sum(weight for _, weight in weights) * (1 + 1e-9)

    def reason(self, place, side, now, around, crowded):
        if depth(place, side, around) > 0:
            return "pierced", 0
        enough = self.spec.part_share * (place["end_bin"] - place["low_bin"])
        shared = [(overlap(place, other.place), -other.id) for other in now]
        most, heir = max(shared, default=(0, 0))
        if most >= enough:
            return "merged", -heir
        if sum(bins for bins, _ in shared) >= enough:
            return "split", -heir
        far, away = (-place["low_bin"], -around[1]) if side == 0 else (place["end_bin"], around[0])
        if far > away + self.reach_bins - 1:
            return "out_of_reach", 0
        return "crowded_out" if crowded else "dissipated", 0

    def row(self, held, side, close_ns, over=False):
        def ago(hours):
            past = [s for s in held.samples if s[0] <= close_ns - hours * HOUR_NS]
            fresh = past and past[-1][0] >= close_ns - hours * HOUR_NS - 2 * self.cadence_ns
            return past[-1] if fresh else (math.nan,) * 4

        recent = [s for s in held.samples if s[0] >= close_ns - 6 * HOUR_NS]
        return held.place | {
            "side": side,
            "id": held.id,
            "born_ns": held.born_ns,
            "seen_steps": held.seen_steps,
            "peak_6h_share": max([held.place["mass_share"], *(s[1] for s in recent)]),
            "peak_6h_base": max([held.place["mass_base"], *(s[2] for s in recent)]),
            "mass_1h_share": ago(1)[1],
            "mass_6h_share": ago(6)[1],
            "mass_24h_share": ago(24)[1],
            "place_24h_log": ago(24)[3],
            "touched_ns": held.touched_ns,
            "split_from": held.split_from,
            "ending": ENDINGS.index(held.ending) if over else 0,
            "into": held.into if over else 0,
            "ended_ns": close_ns if over else 0,
        }


def bucket(mass):
    return math.floor((math.log2(mass) + 20) * 16)


def depth(place, side, around):
    return place["end_bin"] - around[0] if side == 0 else around[1] - place["low_bin"]


def overlap(one, other):
    return max(0, min(one["end_bin"], other["end_bin"]) - max(one["low_bin"], other["low_bin"]))


def parent(place, before, part_share):
    most, number = max(((overlap(place, held.place), -held.id) for held in before), default=(0, 0))
    return -number if most >= part_share * (place["end_bin"] - place["low_bin"]) else 0


def match(before, found, least_iou, most_log):
    """For each found place the number of the one before that it continues: again and again the best pair of those left.

    Bins are sets; first all pairs that overlap, then all whose centroids are near.
    """
    owners = {}
    for rule in ("overlap", "centroid"):
        while True:
            ranks = []
            for old, ours in enumerate(before):
                for new, theirs in enumerate(found):
                    if old in owners.values() or new in owners:
                        continue
                    apart = abs(ours["place_log"] - theirs["place_log"])
                    one, two = (set(range(p["low_bin"], p["end_bin"])) for p in (ours, theirs))
                    iou = len(one & two) / len(one | two)
                    if rule == "overlap" and iou >= least_iou:
                        ranks.append((-iou, apart, old, new))
                    if rule == "centroid" and apart <= most_log:
                        ranks.append((0.0, apart, old, new))
            if not ranks:
                break
            _, _, old, new = min(ranks)
            owners[new] = old
    return [owners.get(new) for new in range(len(found))]
