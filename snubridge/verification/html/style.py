"""How the page looks: light and dark, on a telephone, a desk and paper."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--muted:#57606a;--rule:#d5d9df;--paper:#fff;--shade:#f3f5f8;
--good:#00684c;--warn:#855700;--bad:#b3201a;--link:#0a58b0}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--muted:#a3acb8;--rule:#3a414b;--paper:#14171c;--shade:#1e232b;
--good:#4fd1a5;--warn:#e6b450;--bad:#ff8078;--link:#79b8ff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:972px;margin:0 auto;padding:20px 16px 48px}
h1{font-size:1.65rem;line-height:1.25;margin:4px 0 12px}
h2{font-size:1.25rem;margin:40px 0 8px;padding-top:14px;border-top:1px solid var(--rule)}
h3{font-size:1.02rem;margin:24px 0 6px}
p{margin:8px 0;max-width:76ch}
h1,h2,h3,p,li,dd,figcaption{overflow-wrap:anywhere}
.kicker,figcaption,.note{color:var(--muted);font-size:.875rem}
.kicker{margin:0}
.claim{border-left:5px solid var(--muted);background:var(--shade);padding:12px 16px;margin:12px 0;font-size:1.08rem}
.claim.good{border-color:var(--good)}.claim.warn{border-color:var(--warn)}.claim.bad{border-color:var(--bad)}
.claim p{margin:0}
.good strong,td.good{color:var(--good)}.warn strong,td.warn{color:var(--warn)}.bad strong,td.bad{color:var(--bad)}
td.good,td.warn,td.bad{font-weight:600}
.scroll{overflow-x:auto;margin:10px 0;border:1px solid var(--rule);border-radius:6px}
.scroll:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.875rem}
th,td{padding:6px 9px;text-align:left;vertical-align:top;white-space:nowrap}
th{background:var(--shade);font-weight:600}
thead th{white-space:normal;vertical-align:bottom}
tbody th{background:none}
tr+tr>*{border-top:1px solid var(--rule)}
.n{text-align:right;font-variant-numeric:tabular-nums}
td.long,th.long{white-space:normal;overflow-wrap:anywhere}
td.long{min-width:16em}th.long{min-width:9em}
.facts td,.facts th{white-space:normal;overflow-wrap:anywhere}
.facts th{width:11em;min-width:7em}
code,.hash{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.85em;overflow-wrap:anywhere}
pre{background:var(--shade);padding:10px 12px;border-radius:6px;margin:10px 0;white-space:pre-wrap}
.num{white-space:nowrap}
figure{margin:14px 0 20px}
figcaption{margin-top:4px;max-width:90ch}
figcaption b{color:var(--ink)}
svg{display:block;width:100%;height:auto}
.wide{display:none}
.narrow{max-width:620px}
.calls{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:4px 20px}
.calls figure{margin:8px 0}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .35em 0 .1em;vertical-align:-.06em}
.keys{font-size:.875rem;color:var(--muted)}
.keys>span{margin-right:1em;white-space:nowrap}
dl{margin:8px 0}dt{font-weight:600;margin-top:8px}dd{margin:0 0 0 1.2em;max-width:76ch}
footer{margin-top:40px;border-top:1px solid var(--rule);padding-top:12px}
@media(min-width:1000px){.big{width:max-content;min-width:100%;max-width:calc(100vw - 40px);position:relative;left:50%;
transform:translateX(-50%)}.wide{display:block}.narrow{display:none}}
@media print{:root{color-scheme:light;--ink:#000;--muted:#444;--rule:#bbb;--paper:#fff;--shade:#f3f5f8;
--good:#00684c;--warn:#855700;--bad:#b3201a}
body{font-size:11pt}.wide{display:block}.narrow{display:none}.scroll{overflow:visible;width:auto;min-width:0;left:0;transform:none}table{font-size:8pt}
th,td{white-space:normal;padding:3px 5px}figure,tr{break-inside:avoid}@page{margin:12mm}.big table{font-size:6pt}
.big th,.big td{padding:2px;overflow-wrap:break-word}h2,h3,.keys{break-after:avoid}}
"""
