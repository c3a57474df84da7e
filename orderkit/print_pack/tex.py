"""The head that xelatex needs: how the pack looks, and what stands for each character that Latin Modern, its font, has not."""

from __future__ import annotations

DRAWN = {
    "✓": r"\ensuremath{\checkmark}",
    "✗": r"\ensuremath{\times}",
    "☐": r"\ensuremath{\square}",
    "☒": r"\ensuremath{\boxtimes}",
    "☑": r"\ensuremath{\boxtimes}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "≠": r"\ensuremath{\neq}",
    "≈": r"\ensuremath{\approx}",
    "→": r"\ensuremath{\rightarrow}",
    "←": r"\ensuremath{\leftarrow}",
    "↔": r"\ensuremath{\leftrightarrow}",
    "⇒": r"\ensuremath{\Rightarrow}",
    "↑": r"\ensuremath{\uparrow}",
    "↓": r"\ensuremath{\downarrow}",
    "−": r"\ensuremath{-}",
    "∞": r"\ensuremath{\infty}",
    "√": r"\ensuremath{\surd}",
    "μ": r"\ensuremath{\mu}",
    "π": r"\ensuremath{\pi}",
    "σ": r"\ensuremath{\sigma}",
    "●": r"\ensuremath{\bullet}",
    "○": r"\ensuremath{\circ}",
    "■": r"\ensuremath{\blacksquare}",
    "▸": r"\ensuremath{\triangleright}",
    "▶": r"\ensuremath{\blacktriangleright}",
    "│": "|",
    "─": "-",
    "┌": "+",
    "┐": "+",
    "└": "+",
    "┘": "+",
    "├": "+",
    "┤": "+",
    "┬": "+",
    "┴": "+",
    "┼": "+",
    "━": "=",
    "╭": "+",
    "╮": "+",
    "╰": "+",
    "╯": "+",
    "\u202f": r"\,",
    "\u2009": r"\,",
}
"""Character: what TeX draws for it, in prose and in code."""

THERE = frozenset(
    "–—‘’“”„«»…·•×÷±µ°§¶©®£€¥¢½¼¾²³ªº¡¿†‡‰ \u00a0ÄÖÜäöüßÉéÈèÊêËëÀàÂâÁáÅåÆæÇçÍíÎîÏïÌìÑñÓóÔôÒòØøŒœÚúÛûÙùŠšŽžŁł"
)
"""Characters beyond ASCII that Latin Modern has."""

_PREAMBLE = r"""
\usepackage{amssymb}
\usepackage{etoolbox}
\let\wholesection\section
\renewcommand{\section}{\clearpage\wholesection}
\renewcommand{\_}{\textunderscore\allowbreak}
\setlength{\emergencystretch}{4em}
\AtBeginDocument{\raggedright}
\pretocmd{\tableofcontents}{\setcounter{tocdepth}{1}}{}{}
\AtBeginEnvironment{longtable}{\small\sloppy}
\AtBeginEnvironment{verbatim}{\scriptsize}
\AtBeginEnvironment{Shaded}{\scriptsize}
\setcounter{secnumdepth}{-2}
"""


def unknown(text: str) -> set[str]:
    """Characters of it that xelatex would lose."""
    return {one for one in text if ord(one) > 126 and one not in DRAWN and one not in THERE}


def header() -> str:
    """Lines of a YAML head, `header-includes`, for pandoc's own command line."""
    lines = _PREAMBLE.strip().splitlines()
    lines += [f"\\catcode`\\{one}=\\active \\protected\\def{one}{{{drawn}}}" for one, drawn in DRAWN.items()]
    told = "\n".join(["```{=latex}", *lines, "```"])
    return "header-includes:\n- |\n" + "\n".join(f"  {line}" for line in told.splitlines())
