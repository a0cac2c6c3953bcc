"""The frame of a report: style, head, sections. One file, light and dark, no network."""

from collections.abc import Iterable, Sequence

from egojax.apps.figures import escape

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b1f27;--muted:#5f6876;
--faint:#c3c9d2;--line:#e2e6eb;--accent:#2563c9;--good:#11774a;--bad:#b3372c;--old:#8a93a1}
@media (prefers-color-scheme:dark){:root{--page:#14171c;--card:#1c2027;--ink:#e8ebf0;
--muted:#9aa4b2;--faint:#4a5260;--line:#2c323c;--accent:#74a9ff;--good:#5fcf9c;
--bad:#ff8d80;--old:#7d8797}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 20px 64px}
header{margin-bottom:24px}
h1{font-size:28px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:18px;margin:0 0 4px;letter-spacing:-.005em}
p{margin:0 0 12px}
.sub,.lead,figcaption,small{color:var(--muted)}
.lead{max-width:76ch;margin-bottom:16px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:20px 22px;margin:0 0 18px}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",
monospace}
pre{background:var(--page);border:1px solid var(--line);border-radius:8px;padding:10px 12px;
margin:0 0 12px;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(168px,1fr));gap:12px;
margin:0 0 18px}
.cards.wide{grid-template-columns:repeat(auto-fit,minmax(220px,1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:14px 16px}
.card b{display:block;font-size:26px;line-height:1.25;font-variant-numeric:tabular-nums}
.card b span{color:var(--muted);font-weight:400;font-size:18px}
.card small{display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);
white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
th{font-weight:600;color:var(--muted);font-size:13px}
tbody tr:last-child td{border-bottom:0}
td small{display:block;white-space:normal}
td.wrap{white-space:normal;overflow-wrap:anywhere;text-align:left;min-width:200px}
td.text,th.text{text-align:left}
.better{color:var(--good)}.worse{color:var(--bad)}
details{margin-top:12px}
summary{cursor:pointer;color:var(--accent)}
summary+*{margin-top:10px}
.swatch{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:8px}
svg{display:block;width:100%;height:100%;overflow:visible}
svg path{vector-effect:non-scaling-stroke}
.timeline .row{display:grid;grid-template-columns:120px 1fr 58px;gap:12px;
align-items:center;padding:4px 0}
.timeline .row:hover{background:var(--page)}
.timeline .name{white-space:nowrap;overflow:hidden;text-overflow:ellipsis;font-size:14px}
.timeline .bars{height:21px;position:relative}
.timeline .count{color:var(--muted);font-size:13px;text-align:right;white-space:nowrap}
.timeline .axis:hover{background:none}
.timeline .axis .bars{border-top:1px solid var(--faint);color:var(--muted);font-size:12px}
.timeline .axis span{position:absolute;top:2px;white-space:nowrap;padding-left:4px;
border-left:1px solid var(--faint)}
.map{position:relative;max-width:960px;margin:0 auto;border-radius:8px;overflow:hidden;
background:var(--page);border:1px solid var(--line)}
.map .footprint{opacity:.5}
.map path{fill:none;stroke-linecap:round;stroke-linejoin:round}
.map .halo{stroke:var(--card);stroke-width:4;opacity:.7}
.map .camera{stroke:var(--ink);stroke-width:1.6;opacity:.75}
.map .gaze{stroke:var(--ink);stroke-width:1.2;opacity:.45}
.map .trail{stroke-width:2.5;opacity:.9}
.map .dot{stroke-width:10}.map .rim{stroke:var(--card);stroke-width:14}
.map .start{stroke:var(--ink)}.map .hole{stroke:var(--card);stroke-width:6}
.map span{position:absolute;transform:translateY(-50%);font-size:12px;line-height:1.3;
padding:0 4px;border-radius:4px;background:color-mix(in srgb,var(--card) 78%,transparent);
white-space:nowrap}
.map .scale{position:absolute;left:14px;bottom:10px;border-bottom:2px solid var(--ink);
font-size:12px;text-align:center}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:12px}
.pair figure{margin:0 0 14px}
.legend{min-height:22px;font-size:13px}
.key{margin-right:16px}.key::before{content:"";display:inline-block;width:18px;height:3px;
border-radius:2px;margin-right:6px;vertical-align:middle;background:var(--accent)}
.key.before::before{background:var(--old)}
.plot{position:relative;height:190px;margin:8px 0 0 44px}
.scale-y{position:absolute;left:-44px;width:38px;top:-9px;bottom:-9px;display:flex;
flex-direction:column;justify-content:space-between;text-align:right;font-size:12px;
line-height:18px;color:var(--muted)}
.scale-x{display:flex;margin:6px 0 0 44px;font-size:12px;color:var(--muted)}
.scale-x span{flex:1 1 0;text-align:center;line-height:1.3}
.scale-x.ends{justify-content:space-between}.scale-x.ends span{flex:0 0 auto}
.scale-x.at{position:relative;height:18px}
.scale-x.at span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.scale-x small{display:block}
.chart path{fill:none;stroke:var(--accent);stroke-linecap:round;stroke-linejoin:round}
.chart .grid{stroke:var(--line);stroke-width:1}
.chart .line{stroke-width:2.5}.chart .point{stroke-width:9}
.chart path.before{stroke:var(--old)}.chart .bar{fill:var(--accent)}
figure{margin:0}
figure img{display:block;width:100%;height:auto;border-radius:8px;background:#181a1e}
figcaption{font-size:13px;margin-top:6px}
.tiles{display:grid;grid-template-columns:repeat(5,1fr);gap:10px 8px;margin:0 0 22px}
.tiles.four{grid-template-columns:repeat(4,1fr)}
.tiles figcaption{margin-top:3px}
h3{font-size:14px;margin:0 0 8px}
.links{margin-top:24px;display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:14px}
.link{border:1px solid var(--line);border-radius:10px;padding:10px;font-size:13px}
.link div{display:grid;grid-template-columns:1fr 1fr;gap:6px;margin-bottom:8px}
.link img{width:100%;aspect-ratio:1;object-fit:cover;border-radius:6px;display:block}
@media (max-width:640px){main{padding:20px 12px 40px}h1{font-size:23px}
section{padding:16px 14px}.timeline .row{grid-template-columns:84px 1fr 44px;gap:8px}
.timeline .name,.timeline .count{font-size:12px}.map span{font-size:10px;padding:0 2px}.map .desk{display:none}
th,td{padding:6px 5px}.tiles,.tiles.four,.cards.wide{grid-template-columns:repeat(2,1fr)}td:first-child{white-space:normal}td small{display:none}
.timeline .axis span:nth-child(even){display:none}
.scale-x{font-size:10px}}
@media print{body{background:none}section,.card{break-inside:avoid}}
"""


def document(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """A whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><h1>{escape(title)}</h1><div class="sub">{escape(subtitle)}</div>'
        f"</header>{''.join(parts)}</main></body></html>\n"
    )


def section(title: str, lead: str, body: str) -> str:
    """A part with a heading and a sentence on how to read it."""
    text = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f"<section><h2>{escape(title)}</h2>{text}{body}</section>"


def fold(title: str, body: str) -> str:
    """A part that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def card(title: str, value: str, before: str = "") -> str:
    """A number that stands out, with the one before it."""
    old = f"<span>{escape(before)} → </span>" if before else ""
    return (
        f'<div class="card"><small>{escape(title)}</small>'
        f"<b>{old}{escape(value)}</b></div>"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; one may be a whole `<td>` or `<th>`."""
    head = "".join(h if h.startswith("<th") else f"<th>{h}</th>" for h in heads)
    body = "".join(
        "<tr>"
        + "".join(c if c.startswith("<td") else f"<td>{c}</td>" for c in row)
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
