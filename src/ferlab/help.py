"""``ferlab <command> --help``: groups with their options, settings, examples. Reads config files, nothing heavy."""

import inspect
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from ferlab.config.files import groups, options
from ferlab.config.launchers import CHOICES, LAUNCHER, N_JOBS, SWEEPER
from ferlab.config.outline import Setting, explanation, settings

WIDTH = 120
SHOWN_OF_A_NODE = 7
"""A part of the config with more settings has a page of its own, as one that is a group has."""

EXAMPLES = {
    "doctor": ("ferlab doctor", "ferlab doctor --json doctor.json", "ferlab doctor -v"),
    "verify": (
        "ferlab verify dataset=fer2013 dataset.root=DIR",
        "ferlab verify dataset=affectnet8 dataset.root=DIR --json audit.json",
        "ferlab verify dataset=affectnet8 dataset.root=DIR write_signature=ours.json",
    ),
    "synth": (
        "ferlab synth layout=fer2013-csv out=DIR count=2000",
        "ferlab synth layout=affectnet-manual out=DIR count=2000 size_px=64",
        "ferlab synth layout=ferplus out=DIR count=700 seed=1 --json drawn.json",
    ),
    "prepare": (
        "ferlab prepare dataset=fer2013 dataset.root=DIR dataset.protocol=carved",
        "ferlab prepare dataset=synthetic dataset.layout=affectnet-2021 dataset.synthesize.count=2000",
        "ferlab prepare dataset=affectnet7 dataset.root=DIR preparation.encoding=raw --json prepared.json",
    ),
    "train": (
        "ferlab train",
        "ferlab train dataset=fer2013 dataset.root=DIR dataset.protocol=carved backbone=seq2 seed=1",
        "ferlab train -m backbone=seq1,seq2 seed=0,1,2 hydra/launcher=workers",
        "ferlab train -m hydra/sweeper=ferlab_optuna sweep.pruner=median backbone=seq1,seq2 "
        "'recipe.label_smoothing=interval(0,0.2)'",
        "ferlab train -m sweep.resume=NAME",
        "ferlab train backbone=mobilenetv2 backbone.weights=FILE.weights.h5",
        "ferlab train resume=RUN",
        "ferlab train from_run=RUN backbone=seq2 recipe.batch_size=64",
        "ferlab train debug=overfit",
    ),
    "ensemble": (
        "ferlab ensemble runs=[ID,ID]",
        "ferlab ensemble study=NAME top=5 diverse=true",
        "ferlab ensemble study=NAME ensemble.method=greedy ensemble.temperature=true",
    ),
    "evaluate": (
        "ferlab evaluate run=ID",
        "ferlab evaluate run=ID baseline=RUN",
        "ferlab evaluate run=ID split=validation --json scores.json",
        "ferlab evaluate predictions=FILE.csv name=TOOL dataset=fer2013 dataset.root=DIR dataset.protocol=carved",
    ),
    "compare": (
        "ferlab compare study=ferlab",
        "ferlab compare study=ferlab split=test baseline=ID",
        "ferlab compare runs=[ID,ID] --json comparison.json",
    ),
    "reproduce": (
        "ferlab reproduce run=ID",
        "ferlab reproduce run=ID check=true",
        "ferlab reproduce run=ID root=DIR device=cpu --json outcome.json",
    ),
    "register": (
        "ferlab register run=ID model=fer-edge",
        "ferlab register run=ID model=fer-edge metric=macro_f1 margin=0",
        "ferlab register run=ID model=fer-edge --json version.json",
    ),
    "export": (
        "ferlab export run=ID",
        "ferlab export run=ID precision=int8 out=DIR --json export.json",
        "ferlab export run=ID precision=int8 output=uint8",
        "ferlab export -m run=ID precision=float32,float16,dynamic,int8",
        "ferlab export run=ID format=onnx",
    ),
    "benchmark": (
        "ferlab benchmark run=ID",
        "ferlab benchmark runs=[ID,ID] variants=[keras,litert-int8] threads=[1]",
        "ferlab benchmark run=ID --json speeds.json",
    ),
    "predict": (
        "ferlab predict run=ID input=photo.jpg",
        "ferlab predict model=FILE.tflite input=DIR annotate=true out=answers",
        "ferlab predict run=ID input=film.mp4 video.every=5 annotate=true",
        "ferlab predict run=ID input=camera video.seconds=30 --json summary.json",
    ),
    "demo": (
        "ferlab demo run=ID",
        "ferlab demo model=FILE.tflite port=8080",
        "ferlab demo run=ID runtime=litert-int8 abstain_below=0.5",
    ),
    "pipeline": (
        "ferlab pipeline experiments=quickstart",
        "ferlab pipeline experiments=fer2013_quick dataset.root=DIR dataset.protocol=carved",
        "ferlab pipeline experiments=quickstart debug=fast",
    ),
    "runs": (
        "ferlab runs",
        "ferlab runs study=ferlab stage=train where='metrics.val_accuracy>0.6'",
        "ferlab runs show=ID",
        "ferlab runs delete=[ID,ID]",
        "ferlab runs gc=true --yes",
        "ferlab runs copy_to=http://HOST:5000",
    ),
    "cloud": (
        "ferlab cloud status compute.cloud.bucket=BUCKET",
        "ferlab cloud sync compute=rehearsal",
        "ferlab cloud clean compute.cloud.bucket=BUCKET",
    ),
    "ui": ("ferlab ui", "ferlab ui port=5001", "ferlab ui host=0.0.0.0 port=5000"),
}


def command_help(command: str, summary: str) -> str:
    """The help text of one command: what can be chosen and set, with the defaults, and how it is used."""
    chosen = {name: default for name, default in groups(command).items() if options(name)}
    everything = settings(command)
    sizes = Counter(item.node for item in everything)
    apart = [node for node in sizes if node and (node in chosen or sizes[node] > SHOWN_OF_A_NODE)]
    plain = [item for item in everything if item.node not in apart]
    lines = [f"ferlab {command}: {summary}", "", f"usage: ferlab {command} [key=value ...] [flags]"]
    if chosen:
        lines += ["", "groups (group=option, * is the default):"]
        for name, default in chosen.items():
            listed = "  ".join(f"{option}*" if option == default else option for option in options(name))
            lines += textwrap.wrap(listed, WIDTH, initial_indent=f"  {name:<12} ", subsequent_indent=" " * 15)
    if plain:
        lines += ["", "settings (key=default):", *_rows(plain)]
    if apart:
        example = next(item for item in reversed(everything) if item.node in apart)
        lines += ["", f"more settings, such as {example.key}={example.default}:"]
        lines += [f"  ferlab {command} --help {'|'.join(apart)}"]
    lines += ["", "examples:", *(f"  {example}" for example in EXAMPLES[command]), ""]
    lines += [
        "flags: -m (sweep: key=a,b), --cfg job (show the composed config), --json PATH (result as JSON),",
        "       --yes (no questions), -v (tracebacks), --info",
        f"with -m: {SWEEPER}={'|'.join(CHOICES[SWEEPER])}, {LAUNCHER}={'|'.join(CHOICES[LAUNCHER])}, {N_JOBS}=N",
    ]
    return "\n".join(lines)


def node_help(command: str, node: str) -> str | None:
    """What one part of a command's config can be set to; None where the command has no part of that name."""
    text = explanation(command, node)
    if text is None:
        return None
    choice = f", as of {node}={groups(command)[node]}" if groups(command).get(node) else ""
    below = [item for item in settings(command) if item.node == node]
    said = textwrap.indent(inspect.cleandoc(text).replace("``", ""), "  ")
    return "\n".join([f"ferlab {command}: {node}", "", said, "", f"settings (key=default{choice}):", *_rows(below)])


def _rows(listed: Sequence[Setting]) -> Iterator[str]:
    """One line a setting: what is typed, the values it takes, the remark of its file."""
    typed = [f"{item.key}={item.default}" for item in listed]
    width = max(map(len, typed))
    for text, item in zip(typed, listed, strict=True):
        takes = "|".join(item.values) or item.kind
        yield f"  {text:<{width}}  {takes}" + (f"   {item.remark}" if item.remark else "")
