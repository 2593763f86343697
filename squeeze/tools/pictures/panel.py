"""A picture as data: panels in a grid, and what lies in each. `still` and `page` draw the same value.

Times are nanoseconds UTC. What is NaN was not recorded: a line breaks there, a heat is hatched.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from squeeze.tools.drawing import SIDE_COLOURS

LONG, SHORT = SIDE_COLOURS["long"], SIDE_COLOURS["short"]
INK, QUIET = "#1c2430", "#6b7480"
SEQUENCE = ("#00224E", "#5B6B86", "#B3A772", "#F2DC5B")
"""Cividis in four steps, youngest first."""
CONTRAST = ("#0072B2", "#79B5D9", "#FFFFFF", "#EFBE5A", "#C65A00")
"""Blue through white to orange: below, at and above zero."""
Symbol = Literal["circle", "down", "up", "cross", "diamond", "square"]


@dataclass(frozen=True, eq=False)
class Heat:
    """Cells (row, column) around `y` and `x`; the colours are spent on small values, as the square root is."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    label: str
    """What is shown, with its unit."""
    contrast: bool = False
    """Signed: zero is white."""
    top: float | None = None
    """Where the colours end, either way if `contrast`; by the brightest cells where nothing is said."""


@dataclass(frozen=True, eq=False)
class Line:
    """A line; with `outline` a white one on black, for heats."""

    x: np.ndarray
    y: np.ndarray
    name: str = ""
    colour: str = INK
    width: float = 1.4
    dash: bool = False
    outline: bool = False
    step: bool = False
    """It holds its value until the next."""


@dataclass(frozen=True, eq=False)
class Bars:
    """Horizontal bars at prices, `height` thick; each begins where `base` says."""

    y: np.ndarray
    value: np.ndarray
    height: np.ndarray
    name: str
    colour: str
    base: np.ndarray | None = None
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Marks:
    """Points with an area each, in square points."""

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    name: str
    colour: str
    symbol: Symbol = "circle"
    texts: tuple[str, ...] = ()
    """What the page says of each."""


@dataclass(frozen=True, eq=False)
class Spans:
    """Stretches of time in numbered rows: the upper half of a row is the shorts' side, the lower the longs'."""

    start: np.ndarray
    end: np.ndarray
    row: np.ndarray
    side: int
    name: str
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line with its name at the edge, or in the legend."""

    y: float
    name: str
    colour: str = INK
    dash: bool = False
    in_legend: bool = False


@dataclass(frozen=True)
class Strip:
    """A horizontal band with its name at the edge, or in the legend."""

    low: float
    high: float
    name: str = ""
    colour: str = QUIET
    in_legend: bool = False


Layer = Heat | Line | Bars | Marks | Spans | Level | Strip


@dataclass(frozen=True, eq=False)
class Panel:
    """Axes with layers, the first at the back."""

    layers: tuple[Layer, ...]
    title: str = ""
    x_title: str = ""
    y_title: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    is_time: bool = False
    """Whether x is time."""
    rows: tuple[str, ...] = ()
    """Names of whole numbers on y, from 0 up, in place of a scale."""
    note: str = ""
    """Said in the middle where there is nothing to show."""
    has_legend: bool = True
    """False where a panel beside it has the same."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Panels in a grid, None where a place stays empty; rows share y, panels of time share x."""

    name: str
    """Of its file."""
    title: str
    caption: str
    grid: tuple[tuple[Panel | None, ...], ...]
    widths: tuple[float, ...]
    heights: tuple[float, ...] = field(default=(1.0,))
    size: tuple[float, float] = (16.0, 9.0)
    """Of the still one, in inches."""
