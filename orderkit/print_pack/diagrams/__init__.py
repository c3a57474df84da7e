"""The diagrams of the docs and of the print pack, drawn from the code and from one description of what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orderkit.print_pack.diagrams import erd, journey, processes, states

DIAGRAMS: Mapping[str, Callable[[], str]] = {
    "erd": erd.draw,
    "states": states.draw,
    "processes": processes.draw,
    "journey": journey.draw,
}
"""Each diagram by name, as SVG text: the same from run to run. `states` needs the packages of the extra `print`."""
