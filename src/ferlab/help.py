"""``ferlab <command> --help``: groups with their options, and examples. Reads the config folder, nothing heavy."""

from ferlab.config.files import groups, options

EXAMPLES = {
    "doctor": ("ferlab doctor", "ferlab doctor --json doctor.json"),
    "verify": (
        "ferlab verify dataset=fer2013 dataset.root=DIR",
        "ferlab verify dataset=affectnet8 dataset.root=DIR --json audit.json",
        "ferlab verify dataset=affectnet8 dataset.root=DIR write_signature=ours.json",
    ),
    "synth": (
        "ferlab synth layout=fer2013-csv out=DIR count=2000",
        "ferlab synth layout=affectnet-manual out=DIR count=2000 size_px=64",
    ),
    "prepare": (
        "ferlab prepare dataset=fer2013 dataset.root=DIR dataset.protocol=carved",
        "ferlab prepare dataset=synthetic dataset.layout=affectnet-2021 dataset.synthesize.count=2000",
        "ferlab prepare dataset=affectnet7 dataset.root=DIR preparation.encoding=raw --json prepared.json",
    ),
    "train": (
        "ferlab train",
        "ferlab train dataset=fer2013 dataset.root=DIR dataset.protocol=carved backbone=seq2 seed=1",
        "ferlab train -m backbone=seq1,seq2 seed=0,1,2",
        "ferlab train backbone=mobilenetv2 backbone.weights=FILE.weights.h5",
        "ferlab train resume=RUN",
    ),
    "ensemble": ("ferlab ensemble runs=[ID,ID]", "ferlab ensemble study=NAME top=5 diverse=true"),
    "evaluate": (
        "ferlab evaluate run=ID",
        "ferlab evaluate run=ID split=validation --json scores.json",
        "ferlab evaluate predictions=FILE.csv name=TOOL dataset=fer2013 dataset.root=DIR dataset.protocol=carved",
    ),
    "compare": (
        "ferlab compare study=ferlab",
        "ferlab compare study=ferlab split=test baseline=ID",
        "ferlab compare runs=[ID,ID] --json comparison.json",
    ),
    "register": (
        "ferlab register run=ID model=fer-edge",
        "ferlab register run=ID model=fer-edge metric=macro_f1 margin=0",
    ),
    "pipeline": (
        "ferlab pipeline experiments=quickstart",
        "ferlab pipeline experiments=fer2013_quick dataset.root=DIR dataset.protocol=carved",
        "ferlab pipeline experiments=quickstart debug=fast",
    ),
    "ui": ("ferlab ui", "ferlab ui port=5001"),
}


def command_help(command: str, summary: str) -> str:
    """The help text of one command."""
    lines = [f"ferlab {command}: {summary}", "", f"usage: ferlab {command} [key=value ...]", ""]
    chosen = {name: default for name, default in groups(command).items() if options(name)}
    if chosen:
        lines.append("groups (group=option, * is the default):")
        for name, default in chosen.items():
            listed = "  ".join(f"{option}*" if option == default else option for option in options(name))
            lines.append(f"  {name:<12} {listed}")
        lines.append("")
    lines += ["examples:", *(f"  {example}" for example in EXAMPLES[command]), ""]
    lines += [
        "All settings and their values:  ferlab " + command + " --cfg job",
        "Flags: --json PATH (result as JSON), -m (sweep), -v (tracebacks), --cfg job|hydra|all, --info",
    ]
    return "\n".join(lines)
