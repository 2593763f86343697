"""Which figures are taken of a pool, and what each is set beside."""

from squeeze.tools.judge import captures, volumes
from squeeze.tools.judge.estimators import Finding
from squeeze.tools.judge.past import POPULAR
from squeeze.tools.judge.pool import ACTUAL, CHANCE, Pool

PRIOR, FITTED, TILTED = "prior", "fitted", "prior, tilted closes"


def findings(pool: Pool, market: str) -> list[Finding]:
    """The figures of a pool: each beside chance or its control, captures also paired with their rivals."""
    found = []
    for measure in pool.measures():
        keys = pool.keys(measure)
        for scores in keys:
            if measure.startswith("rank"):
                if scores != captures.OLD:
                    found.append(pool.ratio(measure, market, scores, captures.OLD))
            elif measure == volumes.CALIBRATION or measure.startswith(captures.PLACED):
                found.append(pool.ratio(measure, market, scores, ACTUAL))
            elif measure == volumes.CORRELATION:
                found.append(pool.correlation(measure, market, scores, volumes.EXTREME))
            else:
                found.append(pool.ratio(measure, market, scores, CHANCE))
        if measure.startswith("capture"):
            best = FITTED if FITTED in keys else PRIOR
            rivals = (captures.EXTREME, PRIOR, *POPULAR)
            found += [pool.ratio(measure, market, best, rival) for rival in rivals if rival != best]
        if measure == volumes.CORRELATION and volumes.BOTH in keys:
            found.append(pool.correlation(measure, market, volumes.BOTH, FITTED))
    return found
