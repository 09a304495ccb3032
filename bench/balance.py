# SPDX-License-Identifier: Apache-2.0
"""Imbalance of the experts' loads in the runs of bench/balance.sh: a table, and an SVG of the curves.

    bench/balance.py DIR OUT.svg

x = max/mean - 1 of an expert's tokens over 50 steps, averaged over layers."""
import json
import pathlib
import sys

RUNS = {"v2": ("V2's three losses", "#1f77b4"), "v2-off": ("V2, losses off", "#aec7e8"),
        "v3": ("V3's selection bias", "#d62728"), "v3-off": ("V3, bias off", "#ff9896")}
WINDOW = 50


def imbalance(rows, end):
    per_layer = []
    for layer in range(len(rows[0]["expert_loads"])):
        loads = [sum(expert) for expert in zip(*(row["expert_loads"][layer] for row in rows[end - WINDOW:end]))]
        per_layer.append(max(loads) / (sum(loads) / len(loads)) - 1)
    return sum(per_layer) / len(per_layer)


def main(folder, picture):
    curves = {}
    print(f"{'run':22} {'x at step 100':>13} {'200':>6} {'300':>6}  validation loss")
    for name, (title, _) in RUNS.items():
        rows = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        curves[name] = [(end, imbalance(rows, end)) for end in range(WINDOW, len(rows) + 1, 5)]
        at = dict(curves[name])
        print(f"{title:22} {at[100]:13.3f} {at[200]:6.3f} {at[300]:6.3f}  {rows[-1]['validation_loss']:.4f}")
    top = max(x for curve in curves.values() for _, x in curve) * 1.05
    place = lambda step, x: f"{60 + step * 1.8:.1f},{290 - x / top * 260:.1f}"
    svg = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 330" font-family="sans-serif" font-size="13">',
           '<rect width="780" height="330" fill="white"/>']
    for step in range(0, 301, 50):
        svg.append(f'<text x="{60 + step * 1.8}" y="308" text-anchor="middle">{step}</text>')
    for i in range(int(top / 0.5) + 1):
        y = 290 - i * 0.5 / top * 260
        svg.append(f'<line x1="60" x2="600" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/><text x="52" y="{y + 4:.1f}" text-anchor="end">{i * 0.5:g}</text>')
    for i, (name, (title, color)) in enumerate(RUNS.items()):
        points = " ".join(place(*point) for point in curves[name])
        svg.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        svg.append(f'<text x="612" y="{60 + 20 * i}" fill="{color}">{title}</text>')
    svg.append('<text x="330" y="326" text-anchor="middle">step</text><text x="60" y="18">max/mean - 1 of an expert\'s tokens over 50 steps, mean of layers</text></svg>')
    picture.write_text("\n".join(svg) + "\n")


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
