"""Write the measured figures into README.md and README.zh-CN.md.

    metamedica demo --out demo --json > benchmarks/results/demo.json     then
    make readme        from that, from accuracy.json (`make bench-accuracy`) and from chembl-potency.json (`make model`)

Between the two marks nothing is written by hand, so that no figure of the README can differ from the results beside it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._budgets import DEFAULT as LEADER
from metamedica.applications.compound_ranking import DEFAULT, METHODS

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
FROM = ("demo", "accuracy", "chembl-potency")
"""Files of benchmarks/results, without their ending."""
FILES = {"en": "README.md", "zh": "README.zh-CN.md"}
BEGIN, END = "<!-- figures: make readme -->", "<!-- end of figures -->"
WORDS: dict[str, dict[str, str]] = {
    "en": {
        "demo": "Ranking from 16 measured compounds (`make demo`: Spearman over {draws} random supports, seed 0, mean ± standard error):",
        "Random forest": "Random forest",
        "Tanimoto Gaussian process": "Tanimoto Gaussian process",
        "Similarity search": "Similarity search",
        "scene 1": "kappa-opioid receptor, after 29 other ChEMBL sets",
        "scene 2": "one compound series, new to the earlier tasks",
        "leaning": "In the first the predictor leans {first:.0%} on earlier tasks: related receptors, on which many of the same\n"
        "compounds were measured; in the second {second:.0%}, on what is active in general, and loses nothing by it.",
        "bench": "New targets and new molecules (`make bench-accuracy`: held-out ChEMBL targets, {few} at 16 and {many} at 64 labels, every\n"
        "molecule of theirs taken out of meta-training; FS-Mol's supports, 10 draws; active = above the target's median; means over targets,\n"
        "intervals in [benchmarks/results](benchmarks/results/accuracy.md), more settings on the [leaderboard](docs/leaderboard.md)):",
        "method": "method",
        "default": "**`chembl-potency`, the default**",
        "unseen": "On molecules that nobody has measured earlier tasks help a little, above all with numbers (R²); where they have measured the\n"
        "same compounds they help twice as much. Trained learners with a neural network: [benchmarks/results](benchmarks/results/molecules.md).",
        "speed": "Adapting to 16 compounds and ranking 1,000 featurised ones takes {adapt:.0f} ms of one core; fitting the shipped model took\n"
        "{minutes:.1f} minutes and {memory:.1f} GB (`make model`).",
    },
    "zh": {
        "demo": "从 16 个测定过的化合物出发排序（`make demo`：{draws} 组随机支持集，种子 0，Spearman 均值 ± 标准误）：",
        "Random forest": "随机森林",
        "Tanimoto Gaussian process": "Tanimoto 高斯过程",
        "Similarity search": "相似性检索",
        "scene 1": "κ-阿片受体，先学过另外 29 个 ChEMBL 数据集",
        "scene 2": "单一化合物系列，早先任务中没有",
        "leaning": "第一个场景中预测器有 {first:.0%} 依靠早先任务（其中许多化合物在相关受体上测定过）；\n"
        "第二个场景中有 {second:.0%}，依靠的是一般而言什么有活性，且没有因此变差。",
        "bench": "新靶点、新分子（`make bench-accuracy`：留出的 ChEMBL 靶点，16 个标注时 {few} 个、64 个标注时 {many} 个，其全部分子已从\n"
        "元训练中移除；FS-Mol 支持集，10 次抽取；活性 = 高于该靶点中位数；对靶点取均值，\n"
        "区间见 [benchmarks/results](benchmarks/results/accuracy.md)，更多设定见[排行榜](docs/leaderboard.md)）：",
        "method": "方法",
        "default": "**`chembl-potency`（默认）**",
        "unseen": "对无人测定过的分子，早先任务略有帮助，对数值预测（R²）帮助最大；若早先任务测定过相同化合物，帮助约为两倍。\n"
        "带神经网络的训练型学习器见 [benchmarks/results](benchmarks/results/molecules.md)。",
        "speed": "适应 16 个化合物并排序 1,000 个已特征化的分子，单核用时 {adapt:.0f} 毫秒；训练随附模型用时 {minutes:.1f} 分钟、\n"
        "内存 {memory:.1f} GB（`make model`）。",
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


COLUMNS = tuple(
    (f"{figure}, {shots}", setting, shots)
    for figure, setting in (("ΔAUPRC", "chembl691-unseen"), ("R²", "chembl691-unseen-regression"))
    for shots in ("16", "64")
)
"""Head, setting of `make bench-accuracy`, labels."""


def bench_table(words: dict[str, str], settings: dict[str, Any]) -> list[str]:
    """Return the benchmark's table: a method a row, best first; a dash where a method was not judged."""
    figure = {
        (row["method"], head): f"{row['mean']:.3f}"
        for head, setting, shots in COLUMNS
        for row in settings[setting]["shots"][shots]
    }
    ordered = dict.fromkeys(row["method"] for _, name, shots in COLUMNS for row in settings[name]["shots"][shots])
    lines = [row([words["method"], *(head for head, _, _ in COLUMNS)]), "|---|" + "---|" * len(COLUMNS)]
    for name in ordered:
        cells = [figure.get((name, head), "–") for head, _, _ in COLUMNS]
        if name == LEADER:
            lines.append(row([words["default"], *(f"**{cell}**" for cell in cells)]))
        else:
            lines.append(row([f"`{name}`", *cells]))
    return lines


def figures(language: str, results: dict[str, Any]) -> str:
    """Return what stands between the marks, given what stands in the files of `FROM`."""
    demo, accuracy, cost = (results[name] for name in FROM)
    words, scenes, settings = WORDS[language], demo["scenes"], accuracy["settings"]
    first, second = (scene["weight_on_earlier_tasks"]["mean"] for scene in scenes)
    few, many = (max(each["tasks"] for each in settings["chembl691-unseen"]["shots"][shots]) for shots in ("16", "64"))
    parts = [
        [words["demo"].format(draws=scenes[0]["draws"])],
        demo_table(words, scenes),
        [words["leaning"].format(first=first, second=second)],
        [words["bench"].format(few=few, many=many)],
        bench_table(words, settings),
        [words["unseen"]],
        [words["speed"].format(adapt=cost["rank_ms"], minutes=cost["minutes"], memory=cost["peak_gb"])],
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def filled(text: str, language: str, results: dict[str, Any]) -> str:
    """Return a README with the newest figures between its marks."""
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{figures(language, results)}\n\n{END}{rest.split(END, 1)[1]}"


def newest() -> dict[str, Any]:
    """Return the committed results that the figures come from."""
    return {name: json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in FROM}


def main() -> None:
    """Fill both READMEs."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    results = newest()
    for language, name in FILES.items():
        path = ROOT / name
        path.write_text(filled(path.read_text("utf-8"), language, results), "utf-8")


if __name__ == "__main__":
    main()
