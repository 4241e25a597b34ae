"""A report as one page of HTML: no script, no network, light and dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from hookcache_ops.ledger.render import COLUMNS, WORDS, cells, count, facts, headline, notes

if TYPE_CHECKING:
    from hookcache_ops.ledger.summary import Report


def to_html(report: Report) -> str:
    """One self-contained page: no script, no network, light and dark."""
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for _, title in COLUMNS)
    body = "".join(_html_row(group["group"], group) for group in report.groups)
    listed = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in facts(report))
    words = "".join(_html_words(title, report.totals[key]) for title, key in WORDS)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>hookcache report</title><style>{_STYLE}</style></head><body><main>
<h1>hookcache report</h1><p class="lead">{escape(headline(report))}</p><dl>{listed}</dl>
<h2>By {escape(report.by)}</h2><div class="wide" tabindex="0" role="region" aria-label="By {escape(report.by)}"><table>
<thead><tr><th scope="col">{escape(report.by)}</th>{heads}</tr></thead><tbody>{body}</tbody>
<tfoot>{_html_row("total", report.totals)}</tfoot></table></div>{words}
<footer>{"<br>".join(escape(note) for note in notes(report))}</footer></main></body></html>
"""


def _html_row(name: str, amounts: dict[str, Any]) -> str:
    return (
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells(amounts))}</tr>'
    )


def _html_words(title: str, words: dict[str, int]) -> str:
    if not words:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(word)}</th><td>{count(number)}</td></tr>' for word, number in words.items()
    )
    return f"<h2>{title}</h2><table><tbody>{rows}</tbody></table>"


_STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5a6675;--line:#dfe4ea;--paper:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#a3afbd;--line:#323b47;--paper:#14181e}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem}h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.lead{font-size:1.15rem;margin:.5rem 0 1.5rem;overflow-wrap:anywhere}dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.5rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}
table{border-collapse:collapse;min-width:20rem;font-variant-numeric:tabular-nums}th,td{padding:.35rem .8rem .35rem 0;text-align:right;white-space:nowrap}
th:first-child{text-align:left}tr{border-bottom:1px solid var(--line)}thead th{color:var(--soft);font-weight:500}tfoot th,tfoot td{font-weight:600}
footer{margin-top:2rem;color:var(--soft);font-size:.9rem}@media (max-width:40rem){dl{grid-template-columns:1fr}dd{margin-bottom:.5rem}}
@media print{.wide{overflow:visible;font-size:.75rem}.wide th,.wide td{padding-right:.6rem}}
"""
