"""Write the measured figures into README.md and README.zh-CN.md.

    metamedica demo --out demo --json > benchmarks/results/demo.json     then
    make readme        from that and from molecules.json (`make bench-molecules`)

Between the two marks nothing is written by hand, so that no figure of the README can differ from the results beside it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metamedica.applications.compound_ranking import DEFAULT, METHODS

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
FILES = {"en": "README.md", "zh": "README.zh-CN.md"}
BEGIN, END = "<!-- figures: make readme -->", "<!-- end of figures -->"
WORDS: dict[str, dict[str, str]] = {
    "en": {
        "demo": "Ranking from 16 measured compounds (`make demo`: Spearman over {draws} random supports, seed 0, mean ± standard error):",
        "Random forest": "Random forest",
        "Tanimoto Gaussian process": "Tanimoto Gaussian process",
        "Similarity search": "Similarity search",
        "scene 1": "kappa-opioid receptor, after 29 other ChEMBL sets",
        "scene 2": "one compound series that nothing earlier explains",
        "leaning": "In the first the predictor leans {first:.0%} on earlier tasks: related receptors, on which many of the same\n"
        "compounds were measured; in the second {second:.0%}, and says that it leans on nothing learned.",
        "bench": "New targets and new molecules (`make bench-molecules`: held-out ChEMBL targets, {few} at 16 and {many} at 64 labels, every\n"
        "molecule of theirs taken out of meta-training; FS-Mol's protocol, 10 draws; active = above the target's median; means over targets,\n"
        "intervals in [benchmarks/results](benchmarks/results/molecules.md)):",
        "method": "method",
        "default": "**`chembl-potency`, the default**",
        "alone": "its learned part alone",
        "unseen": "On molecules that nobody has measured the default owes its lead to a better method from scratch, on which its guard leans\n"
        "(`multi_kernel_gp`), and says so; earlier tasks help where they have measured the same compounds.",
        "speed": "Adapting to 16 compounds and ranking 1,000 takes {adapt:.0f} ms on one core; fitting the shipped model took\n"
        "{minutes:.1f} minutes and {memory:.1f} GB.",
    },
    "zh": {
        "demo": "从 16 个测定过的化合物出发排序（`make demo`：{draws} 组随机支持集，种子 0，Spearman 均值 ± 标准误）：",
        "Random forest": "随机森林",
        "Tanimoto Gaussian process": "Tanimoto 高斯过程",
        "Similarity search": "相似性检索",
        "scene 1": "κ-阿片受体，先学过另外 29 个 ChEMBL 数据集",
        "scene 2": "单一化合物系列，早先任务解释不了",
        "leaning": "第一个场景中预测器有 {first:.0%} 依靠早先任务（其中许多化合物在相关受体上测定过）；\n"
        "第二个场景中只有 {second:.0%}，并说明自己没有依靠任何学到的东西。",
        "bench": "新靶点、新分子（`make bench-molecules`：留出的 ChEMBL 靶点，16 个标注时 {few} 个、64 个标注时 {many} 个，其全部分子已从\n"
        "元训练中移除；FS-Mol 协议，10 次抽取；活性 = 高于该靶点中位数；对靶点取均值，\n"
        "区间见 [benchmarks/results](benchmarks/results/molecules.md)）：",
        "method": "方法",
        "default": "**`chembl-potency`（默认）**",
        "alone": "仅其学到的部分",
        "unseen": "对无人测定过的分子，默认预测器的领先来自更好的从头方法（`multi_kernel_gp`，守卫所依靠的正是它），\n"
        "它也会如实说明；早先任务在测定过相同化合物时才有帮助。",
        "speed": "适应 16 个化合物并排序 1,000 个，单核用时 {adapt:.0f} 毫秒；训练随附模型用时 {minutes:.1f} 分钟、内存 {memory:.1f} GB。",
    },
}


def row(cells: Sequence[str]) -> str:
    """Return one row of a table."""
    return f"| {' | '.join(cells)} |"


def demo_table(words: dict[str, str], scenes: Sequence[dict[str, Any]]) -> list[str]:
    """Return the demonstration's table: a scene a row, a method a column."""
    lines = [row(["", DEFAULT, *(words[name] for name in METHODS.values())]), "|" + "---|" * (2 + len(METHODS))]
    for number, scene in enumerate(scenes, start=1):
        of = {each["method"]: f"{each['spearman']:.3f} ± {each['spearman_se']:.3f}" for each in scene["methods"]}
        lines.append(row([words[f"scene {number}"], f"**{of[DEFAULT]}**", *(of[name] for name in METHODS.values())]))
    return lines


def bench_table(words: dict[str, str], tables: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the benchmark's table: a method a row, best first; a dash where a method does not apply."""
    figure = {
        (kind, each["method"], each["shots"]): f"{each['mean']:.3f}" for kind, rows in tables.items() for each in rows
    }
    ordered = sorted((each for each in tables["binary"] if each["shots"] == 16), key=lambda each: -float(each["mean"]))
    lines = [row([words["method"], "ΔAUPRC, 16", "ΔAUPRC, 64", "R², 16", "R², 64"]), "|---|---|---|---|---|"]
    for name in (each["method"] for each in ordered):
        cells = [figure.get((kind, name, shots), "–") for kind in ("binary", "regression") for shots in (16, 64)]
        shown = f"`{name}`"
        if name.endswith("(default)"):
            shown, cells = words["default"], [f"**{cell}**" for cell in cells]
        elif name.endswith("(learned part alone)"):
            shown = words["alone"]
        lines.append(row([shown, *cells]))
    return lines


def figures(language: str, demo: dict[str, Any], molecules: dict[str, Any]) -> str:
    """Return what stands between the marks."""
    words, scenes, tables = WORDS[language], demo["scenes"], molecules["tables"]
    first, second = (scene["weight_on_earlier_tasks"]["mean"] for scene in scenes)
    few, many = (max(each["tasks"] for each in tables["binary"] if each["shots"] == shots) for shots in (16, 64))

    def goal(start: str) -> float:
        return float(next(each["value"] for each in molecules["goals"] if each["name"].startswith(start)))

    parts = [
        [words["demo"].format(draws=scenes[0]["draws"])],
        demo_table(words, scenes),
        [words["leaning"].format(first=first, second=second)],
        [words["bench"].format(few=few, many=many)],
        bench_table(words, tables),
        [words["unseen"]],
        [
            words["speed"].format(
                adapt=goal("adapt to 16"), minutes=goal("one full training"), memory=goal("peak memory")
            )
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def filled(text: str, language: str, demo: dict[str, Any], molecules: dict[str, Any]) -> str:
    """Return a README with the newest figures between its marks."""
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{figures(language, demo, molecules)}\n\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    """Fill both READMEs."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    demo, molecules = (json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in ("demo", "molecules"))
    for language, name in FILES.items():
        path = ROOT / name
        path.write_text(filled(path.read_text("utf-8"), language, demo, molecules), "utf-8")


if __name__ == "__main__":
    main()
