// SPDX-License-Identifier: Apache-2.0
// The style sheet of report.html: light or dark as the reader's screen is, light on paper.
//
// Charts of report_chart.h are 480 units wide and shrink with their card; where cards are narrow,
// and on paper, their text grows.  What is wider (class "scroll") keeps its size and scrolls.
#pragma once

namespace orthant {

inline constexpr const char* kReportStyle = R"(
:root { --page: #f5f6f8; --card: #ffffff; --ink: #1b2130; --soft: #667085; --edge: #e2e6ec;
  --grid: #edf0f4; --c1: #2f6fde; --c2: #d9650d; --c3: #16885c; --c4: #8a4fd3;
  color-scheme: light; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #0e1117; --card: #161b24; --ink: #e6e9ef; --soft: #98a2b3; --edge: #272e3b;
    --grid: #222936; --c1: #6ea8fe; --c2: #ffa057; --c3: #4fcf9a; --c4: #c39bff;
    color-scheme: dark; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 20px 56px; }
h1 { font-size: 26px; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 32px 0 12px; }
.soft { color: var(--soft); margin: 4px 0 0; }
.tiles { display: grid; gap: 12px; margin-top: 24px;
  grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); }
.tile, figure, .facts, .sample, details, pre.go { background: var(--card);
  border: 1px solid var(--edge); border-radius: 10px; }
.tile { padding: 14px 16px; }
.tile b { display: block; font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.charts { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
figure { margin: 0; padding: 14px 14px 8px; min-width: 0; }
figcaption { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline;
  padding: 0 4px 4px; }
figcaption span { color: var(--soft); font-size: 13px; }
figcaption i { display: inline-block; width: 16px; height: 3px; border-radius: 2px;
  margin-right: 6px; vertical-align: middle; background: currentColor; color: var(--c);
  print-color-adjust: exact; }
svg { display: block; width: 100%; height: auto; }
.s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); } .s4 { --c: var(--c4); }
.line { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; }
.band { fill: var(--c); fill-opacity: 0.18; }
.dot { fill: var(--c); stroke: var(--card); stroke-width: 1; }
.grid { stroke: var(--grid); } .axis { stroke: var(--edge); stroke-width: 1.5; }
.tick { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.hover { fill: var(--ink); fill-opacity: 0; } .hover:hover { fill-opacity: 0.07; }
.under { fill: var(--c1); } .over { fill: var(--c2); } .frame { fill: none; stroke: var(--edge); }
.mark { fill: var(--ink); font-size: 12px; } .mark.full { fill: var(--card); }
.wide { grid-column: 1 / -1; }
.scroll { overflow-x: auto; } .scroll svg { min-width: 860px; } .scroll .tick { font-size: 13px; }
.timeline > svg > rect { fill: none; } .timeline text { fill: var(--ink); }
.timeline g text { fill: #1b2130; }
.facts { width: 100%; border-spacing: 0; overflow: hidden; }
.facts th, .facts td { text-align: left; padding: 7px 16px; vertical-align: top;
  border-top: 1px solid var(--grid); overflow-wrap: anywhere; }
.facts tr:first-child th, .facts tr:first-child td { border-top: 0; }
.facts th { color: var(--soft); font-weight: 500; width: 14em; }
.sample { padding: 12px 16px; margin-bottom: 10px; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13.5px/1.55 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
.sample .prompt { color: var(--soft); }
details { padding: 10px 16px; } summary { cursor: pointer; }
pre { margin: 0; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
details pre { padding-top: 10px; } pre.go { padding: 12px 16px; }
footer { color: var(--soft); font-size: 13px; margin-top: 32px; }
@media (max-width: 620px) {
  .charts .tick { font-size: 15px; } .charts .scroll .tick { font-size: 13px; }
  .facts th { width: 7.5em; }
  .facts th, .facts td { padding: 7px 10px; } }
@media print {
  body { background: none; } main { max-width: none; padding: 0 2px; }
  .charts { grid-template-columns: 1fr 1fr; } .tick { font-size: 15px; }
  .scroll svg { min-width: 0; }
  .scroll .tick { font-size: 18px; } .scroll .mark { font-size: 15px; }
  figure, .sample, .facts tr { break-inside: avoid; } h2 { break-after: avoid; } }
)";

}  // namespace orthant
