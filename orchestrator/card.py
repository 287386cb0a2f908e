"""The model card of a fused student, for people; the machine's card lies beside the weights as JSON."""

import string
from typing import Any

from fusion.method import Method
from fusion.networks import ImageSpec


def model_card(name: str, network: str, spec: ImageSpec, summary: dict[str, Any], method: Method) -> str:
    """Markdown: what the model is, by which `method`, how its input is made, where it comes
    from, how good it is."""
    rows = [("teacher " + one["name"], one["accuracy"]) for one in summary["teachers"]]
    rows += [
        ("teachers' ensemble", summary["ensemble"]["accuracy"]),
        ("**this model**", summary["student"]["accuracy"]),
    ]
    if "gold_standard" in summary:
        rows.append(("gold standard (trained on all data)", summary["gold_standard"]["accuracy"]))
    table = "\n".join(f"| {label} | {_percent(value)} |" for label, value in rows)
    parties = "\n".join(
        f"* {one['name']}: {one['network']}, SHA-256 `{one['sha256']}`{_source(one)}"
        for one in summary["teachers"]
    )
    on_data = method.on_training_images
    without = "on images of" if on_data else "without any of"
    used = f"{'Raw' if on_data else 'No raw'} training data was used in the fusion"
    still = "" if on_data else "still "
    return f"""# {name}

A {network} classifier that dfmf fused from {len(summary["teachers"])} pretrained classifiers {without}
their data
({method.title}).

## Use

`student.safetensors` holds the state dict of the network `{network}`; `student.json` holds everything below
for
machines. Input: {spec.channels} x {spec.size} x {spec.size}, pixels in [0, 1], then per channel (pixel -
mean) / std with
mean {list(spec.mean)} and std {list(spec.std)}. Output: {len(spec.classes)} logits. The classes,
in this order, are {", ".join(_plain(one) for one in spec.classes)}.

## Scores

Top-1 accuracy in percent on the evaluation images; — where there were none.

| classifier | accuracy |
|---|---|
{table}

Agreement with the teachers' ensemble on {summary["student"]["agreement_on"]}:
{_percent(summary["student"]["agreement"])} %.
One image costs {summary["student"]["macs"]:,} multiply-accumulates; the ensemble costs
{summary["ensemble"]["macs"]:,}.

## Teachers

{parties}

## Made with

Seed {summary["seed"]}, {summary["iterations"]} iterations, {summary["seconds"]:.0f} s, {summary["status"]}.
The complete
configuration is in `config.yaml`. {used}; the student can {still}carry
over what its
teachers learned of theirs.
"""


_MARKUP = str.maketrans({one: f"\\{one}" for one in string.punctuation if one not in ".,'()-"})


def _plain(text: str) -> str:
    """Markdown that shows `text` as it is: a party's class names must not become links, images or tags."""
    return text.translate(_MARKUP)


def _source(teacher: dict[str, Any]) -> str:
    return f", {_plain(teacher['source'])}" if "source" in teacher else ""


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"
