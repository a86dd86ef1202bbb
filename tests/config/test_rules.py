"""Combinations that look right one by one and cannot work together are refused before anything runs."""

from dataclasses import replace

import pytest

from ferlab.config import cloud_rules, edge_rules, rules
from ferlab.config.nodes import (
    Augment,
    Backbone,
    Combination,
    Compute,
    Dataset,
    Debug,
    Member,
    Phase,
    Pipeline,
    Preparation,
    Recipe,
    Sweep,
    Synthesize,
)
from ferlab.config.rules import Facts
from ferlab.datasets.catalog import DATASETS, FAMILIES, LAYOUTS

FACTS = Facts(
    families=FAMILIES,
    datasets={name: item.family for name, item in DATASETS.items()},
    taxonomies={name: item.taxonomies for name, item in DATASETS.items()},
    drawn=LAYOUTS,
    gpu_present=False,
    backbones=("seq1", "seq2", "mobilenetv2"),
    recipes=("scratch", "demo"),
)
FER = Dataset(name="fer2013", protocol="official", root="/data/fer")
FERPLUS = Dataset(name="ferplus", protocol="official", root="/data/fer", taxonomy="ferplus8")
AFFECTNET = Dataset(name="affectnet7", protocol="carved", root="/data/affectnet")
DRAWN = Dataset(name="synthetic", layout="fer2013-csv", protocol="carved", synthesize=Synthesize(70))
NO_DEBUG = Debug(name="none")
SCRATCH = Recipe(name="scratch", phases=[Phase("all", 10, 0.01)])
TWO_PHASE = Recipe(name="two_phase", phases=[Phase("head", 1, 0.01, trainable=0.0), Phase("tune", 1, 0.01)])


def found(rule, *nodes, facts=FACTS) -> dict[str, str]:
    return dict(rule(facts, *nodes))


@pytest.mark.parametrize(
    "dataset",
    [
        FER,
        FERPLUS,
        AFFECTNET,
        DRAWN,
        replace(FER, root=None, synthesize=Synthesize(70)),
        replace(FER, protocol="fraction20"),
        replace(FER, protocol="mixed", folds=5, fold=4),
        replace(FERPLUS, taxonomy="fer2013", targets="multi_target", votes="/data/votes.csv"),
        replace(FERPLUS, taxonomy=None, protocol="carved", targets="probability"),
        replace(AFFECTNET, name="affectnet8", taxonomy="affectnet8"),
        replace(AFFECTNET, root=None, synthesize=Synthesize(70), layout="affectnet-manual"),
        replace(DRAWN, layout="ferplus", targets="cross_entropy"),
    ],
)
def test_a_dataset_with_a_source_and_a_protocol_of_its_kind_is_fine(dataset):
    assert found(rules.dataset_source, dataset, NO_DEBUG) == {}
    assert found(rules.dataset_known, dataset) == {}


@pytest.mark.parametrize(
    ("dataset", "key", "words"),
    [
        (replace(FER, root=None), "dataset.root", "dataset=synthetic"),
        (replace(FER, synthesize=Synthesize(100)), "dataset.root", "draws faces instead"),
        (replace(FER, root=None, synthesize=Synthesize(69)), "dataset.synthesize.count", "70"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_refused(dataset, key, words):
    problems = found(rules.dataset_source, dataset, NO_DEBUG)
    assert set(problems) == {key}
    assert words in problems[key]


@pytest.mark.parametrize(
    ("dataset", "key", "text"),
    [
        (replace(AFFECTNET, protocol="official"), "dataset.protocol", "affectnet7 has carved; got 'official'"),
        (replace(FERPLUS, protocol="mixed"), "dataset.protocol", "ferplus has official, carved; got 'mixed'"),
        (
            replace(FER, protocol="offical"),
            "dataset.protocol",
            "fer2013 has official, carved, fraction20, mixed; got 'offical'",
        ),
        (
            replace(FER, folds=5),
            "dataset.folds",
            "protocol official has a validation split of its own; folds need carved",
        ),
        (
            replace(FER, protocol="carved", folds=5, fold=5),
            "dataset.fold",
            "must lie in 0..dataset.folds - 1 (5 folds), got 5",
        ),
        (replace(FER, fold=1), "dataset.fold", "must lie in 0..dataset.folds - 1 (0 folds), got 1"),
        (
            replace(FER, protocol="carved", folds=1),
            "dataset.folds",
            "one fold leaves nothing to train on; use 2 or more, or 0 for none",
        ),
        (
            replace(FER, taxonomy="affectnet7"),
            "dataset.taxonomy",
            "fer2013 is read with fer2013; got 'affectnet7'",
        ),
        (
            replace(FERPLUS, taxonomy="affectnet8"),
            "dataset.taxonomy",
            "ferplus is read with ferplus8, fer2013; got 'affectnet8'",
        ),
        (replace(FER, targets="probability"), "dataset.targets", "fer2013 has no votes; only ferplus has"),
        (replace(AFFECTNET, votes="/v.csv"), "dataset.votes", "affectnet7 has no votes; only ferplus has"),
        (replace(DRAWN, targets="multi_target"), "dataset.targets", "synthetic has no votes; only ferplus has"),
        (
            replace(AFFECTNET, layout="fer2013-csv"),
            "dataset.layout",
            "affectnet7 is drawn in affectnet-2021, affectnet-manual, affectnet-folder; files are recognised by "
            "themselves",
        ),
        (replace(DRAWN, layout="fer2013"), "dataset.layout", f"'fer2013' cannot be drawn; known: {', '.join(LAYOUTS)}"),
        (replace(DRAWN, layout=None), "dataset.layout", f"None cannot be drawn; known: {', '.join(LAYOUTS)}"),
        *(
            (
                replace(dataset, name="fer13"),
                "dataset.name",
                "'fer13' is not known; known: fer2013, ferplus, affectnet7, affectnet8, synthetic",
            )
            for dataset in (FER, DRAWN)
        ),
    ],
)
def test_what_a_dataset_does_not_have_is_refused(dataset, key, text):
    assert found(rules.dataset_known, dataset) == {key: text}


def test_a_debug_run_draws_faces_whatever_the_root():
    dataset = replace(FER, synthesize=Synthesize(140))
    assert found(rules.dataset_source, dataset, Debug(name="fast")) == {}


def test_all_problems_of_a_dataset_come_at_once():
    dataset = replace(AFFECTNET, root=None, protocol="official", fold=2, targets="probability", taxonomy="rafdb")
    nodes = {"dataset": dataset, "debug": NO_DEBUG}
    problems: dict[str, str] = {}
    for names, rule in rules.RULES:
        if set(names) <= set(nodes):
            problems |= found(rule, *(nodes[name] for name in names))
    assert set(problems) == {
        "dataset.root", "dataset.protocol", "dataset.fold", "dataset.targets", "dataset.taxonomy"
    }  # fmt: skip


def test_gray_faces_are_not_stored_as_rgb():
    assert set(found(rules.stored_images, FER, Preparation(colour="rgb"))) == {"preparation.colour"}


@pytest.mark.parametrize("dataset", [FER, FERPLUS, DRAWN])
@pytest.mark.parametrize(
    ("preparation", "key"),
    [
        (Preparation(align=True), "preparation.align"),
        (Preparation(margin=0.1), "preparation.margin"),
        (Preparation(align=True, margin=0.1), "preparation.align"),
    ],
)
def test_faces_that_come_cropped_are_neither_cut_nor_turned(dataset, preparation, key):
    assert found(rules.stored_images, dataset, preparation) == {
        key: f"{dataset.name} comes cropped, without face boxes and landmarks"
    }


def test_photos_are_cut_and_turned():
    assert found(rules.stored_images, AFFECTNET, Preparation(margin=0.2, align=True)) == {}


@pytest.mark.parametrize(
    ("dataset", "colour"), [(FER, None), (FER, "gray"), (AFFECTNET, None), (AFFECTNET, "rgb"), (AFFECTNET, "gray")]
)
def test_colours_that_the_source_has_are_fine(dataset, colour):
    assert found(rules.stored_images, dataset, Preparation(colour=colour)) == {}


@pytest.mark.parametrize(
    ("backbone", "preparation"),
    [
        (Backbone("seq1"), Preparation()),
        (Backbone("seq1"), Preparation(size_px=32)),
        (Backbone("mobilenetv2", weights="imagenet"), Preparation()),
        (Backbone("mobilenetv2", weights="imagenet", working_px=96, weights_required=True), Preparation(size_px=16)),
    ],
)
def test_a_backbone_with_images_and_weights_that_fit_is_fine(backbone, preparation):
    assert found(rules.backbone_fits, backbone, FER, preparation) == {}


@pytest.mark.parametrize(
    ("backbone", "preparation", "key", "words"),
    [
        (Backbone("resnet9000"), Preparation(), "backbone.name", "seq1, seq2, vgg_small"),
        (Backbone("seq1"), Preparation(size_px=31), "preparation.size_px", "at least 32 px, got 31"),
        (Backbone("seq1", working_px=24), Preparation(size_px=48), "backbone.working_px", "got 24"),
        (Backbone("seq1", crop_px=24), Preparation(size_px=48), "backbone.crop_px", "got 24"),
        (Backbone("seq1", crop_px=40), Preparation(size_px=36), "backbone.crop_px", "the images have 36 px"),
        (Backbone("vgg16", width=0.5), Preparation(), "backbone.width", "one width only"),
        (Backbone("seq1", weights="imagenet"), Preparation(), "backbone.weights", "no ImageNet weights"),
        (Backbone("seq1", weights="/no/such/file.h5"), Preparation(), "backbone.weights", "/no/such/file.h5"),
        (Backbone("seq1", weights_required=True), Preparation(), "backbone.weights_required", "required"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_refused(backbone, preparation, key, words):
    problems = found(rules.backbone_fits, backbone, FER, preparation)
    assert set(problems) == {key}
    assert words in problems[key]


def test_a_weights_file_that_exists_is_fine_also_below_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "face.weights.h5").write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path))
    for weights in (str(tmp_path / "face.weights.h5"), "~/face.weights.h5"):
        assert found(rules.backbone_fits, Backbone("seq1", weights=weights), FER, Preparation()) == {}


def test_a_recipe_that_freezes_layers_needs_a_pretrained_base():
    problems = found(rules.recipe_fits, TWO_PHASE, Backbone("seq1"))
    assert "recipe=scratch_sgd" in problems["recipe"]
    assert found(rules.recipe_fits, TWO_PHASE, Backbone("mobilenetv2")) == {}
    assert found(rules.recipe_fits, SCRATCH, Backbone("seq1")) == {}


@pytest.mark.parametrize("phases", [[], [Phase("all", 1, 0.1), Phase("all", 2, 0.1)]])
def test_a_recipe_without_phases_or_with_two_of_one_name_is_refused(phases):
    assert set(found(rules.recipe_fits, Recipe("mine", phases), Backbone("seq1"))) == {"recipe.phases"}


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase("all", 1, 0.1, optimizer="adam", weight_decay=0.1), "use adamw"),
        (Phase("all", 1, 0.1, schedule="constant", warmup=0.1), "no warmup"),
        (Phase("all", 1, 0.1, trainable=0.5, from_block="block_13"), "give one of them"),
        (Phase("all", 1, 0.1, top_layers=20, from_block="block_13"), "give one of them"),
        (Phase("all", 1, 0.1, trainable=0, top_layers=20), "give one of them"),
        (Phase("all", 1, 0.1, copies=3), "trainable: 0"),
        (Phase("all", 1, 0.1, trainable=0, copies=3, features="computed"), "features: cached"),
    ],
)
def test_settings_of_a_phase_that_do_not_go_together_are_refused(phase, words):
    problems = found(rules.recipe_fits, Recipe("mine", [phase]), Backbone("mobilenetv2"))
    assert words in problems["recipe.phases.all"]


def test_weights_are_averaged_one_way_over_epochs_that_there_are():
    both = Recipe("mine", [Phase("all", 5, 0.1)], ema=0.9, swa=2)
    assert set(found(rules.recipe_fits, both, Backbone("seq1"))) == {"recipe.swa"}
    assert set(found(rules.recipe_fits, replace(both, ema=0.0, swa=6), Backbone("seq1"))) == {"recipe.swa"}
    assert found(rules.recipe_fits, replace(both, ema=0.0, swa=5), Backbone("seq1")) == {}


def test_a_loss_of_its_own_goes_with_several_valid_answers():
    several = Dataset(name="ferplus", protocol="official", targets="multi_target")
    for recipe in (replace(SCRATCH, label_smoothing=0.1), replace(SCRATCH, loss="focal")):
        (key,) = found(rules.targets_fit, recipe, several, Augment("a"))
        assert key in ("recipe.label_smoothing", "recipe.loss")
    assert found(rules.targets_fit, SCRATCH, several, Augment("a")) == {}
    mixing = Augment("a", mixup=0.2)
    assert set(found(rules.targets_fit, SCRATCH, several, mixing)) == {"augment"}
    assert found(rules.targets_fit, SCRATCH, replace(several, targets="cross_entropy"), mixing) == {}


@pytest.mark.parametrize(
    ("share", "teacher", "words"),
    [
        (0.7, "run", None),
        (0.0, None, None),
        (0.7, None, "not given, but recipe=mine learns from one: teacher=RUN, or recipe.distill=0"),
        (0.7, "", "not given, but recipe=mine learns from one: teacher=RUN, or recipe.distill=0"),
        (0.0, "run", "recipe=mine learns from labels alone; use recipe=distill, or set recipe.distill"),
    ],
)
def test_a_teacher_and_a_recipe_that_learns_from_one_come_together(share, teacher, words):
    recipe = Recipe("mine", [Phase("all", 5, 0.1)], distill=share)
    assert found(rules.teacher_given, recipe, teacher) == ({"teacher": words} if words else {})


def test_class_weights_that_are_all_one_are_not_asked_for():
    weighted = replace(SCRATCH, balance="weights")
    assert set(found(rules.weights_made, weighted, Preparation(class_weights="none"))) == {"recipe.balance"}
    assert found(rules.weights_made, weighted, Preparation()) == {}


def test_augmentation_may_not_push_the_face_out_of_the_image():
    assert found(rules.augment_fits, Augment("a", shift=0.3, zoom=0.3)) == {}
    assert set(found(rules.augment_fits, Augment("a", shift=0.4, zoom=0.3))) == {"augment"}


@pytest.mark.parametrize(
    ("master", "refused"), [(None, False), ("spark://host:7077", False), ("local[2]", True), ("host:7077", True)]
)
def test_a_cluster_is_named_by_its_address(master, refused):
    problems = found(rules.cluster_named, Compute("local", spark_master=master))
    assert set(problems) == ({"compute.spark_master"} if refused else set())


@pytest.mark.parametrize(
    ("device", "gpu_present", "refused"),
    [("gpu", False, True), ("gpu", True, False), ("auto", False, False), ("cpu", True, False)],
)
def test_a_gpu_that_is_asked_for_must_be_there(device, gpu_present, refused):
    compute = Compute("local", device=device)
    problems = found(rules.device_present, compute, facts=replace(FACTS, gpu_present=gpu_present))
    assert set(problems) == ({"compute.device"} if refused else set())


ONE, TWO = Member("seq1", "scratch", 0), Member("seq2", "scratch", 0)


@pytest.mark.parametrize("members", [[ONE, TWO], [ONE, replace(ONE, seed=1)], [ONE, replace(ONE, recipe="demo"), TWO]])
def test_members_that_differ_are_fine(members):
    assert found(rules.members_known, Pipeline(members)) == {}


@pytest.mark.parametrize(
    ("members", "keys"),
    [
        ([], {"pipeline.members"}),
        ([ONE], {"pipeline.members"}),
        ([ONE, TWO, ONE], {"pipeline.members[2]"}),
        ([ONE, Member("seq3", "scratch")], {"pipeline.members[1].backbone"}),
        ([ONE, Member("seq2", "scrach")], {"pipeline.members[1].recipe"}),
        (
            [Member("a", "b"), Member("a", "b")],
            {f"pipeline.members[{i}].{k}" for i in (0, 1) for k in ("backbone", "recipe")} | {"pipeline.members[1]"},
        ),
    ],
)
def test_members_that_are_too_few_unknown_or_the_same_are_refused(members, keys):
    assert set(found(rules.members_known, Pipeline(members))) == keys


def test_an_ensemble_needs_runs_or_a_study():
    assert set(found(rules.runs_named, None, [], Combination())) == {"runs"}
    assert found(rules.runs_named, "study", [], Combination()) == {}
    assert found(rules.runs_named, None, ["a", "b"], Combination()) == {}


@pytest.mark.parametrize("method", ["mean", "geometric", "stacking", "greedy", "vote"])
def test_weights_for_every_class_are_of_one_method(method):
    assert set(found(rules.combination_fits, Combination(method, per_class=True))) == {"ensemble.per_class"}
    assert found(rules.combination_fits, Combination(method)) == {}


@pytest.mark.parametrize("method", ["weighted", "auto"])
def test_weights_for_every_class_go_with_weighted_and_auto(method):
    assert found(rules.combination_fits, Combination(method, per_class=True)) == {}


@pytest.mark.parametrize(
    "sweep",
    [
        Sweep(),
        Sweep(name="a-1.b_c", objectives=["accuracy"], pruner="median"),
        Sweep(objectives=["macro_f1", "parameters"], sampler="nsga2"),
        Sweep(objectives=["mcc"], sampler="cmaes"),
    ],
)
def test_sweeps_that_can_be_judged(sweep):
    assert found(rules.sweep_judged, sweep) == {}


@pytest.mark.parametrize(
    ("sweep", "key"),
    [
        (Sweep(objectives=["speed"]), "sweep.objectives"),
        (Sweep(objectives=[]), "sweep.objectives"),
        (Sweep(objectives=["accuracy", "accuracy"]), "sweep.objectives"),
        (Sweep(objectives=["macro_f1"], pruner="median"), "sweep.pruner"),
        (Sweep(objectives=["accuracy", "parameters"], sampler="cmaes"), "sweep.sampler"),
        (Sweep(name="a/b"), "sweep.name"),
        (Sweep(resume="it's"), "sweep.resume"),
    ],
)
def test_sweeps_that_cannot_be_judged_or_named_are_refused(sweep, key):
    assert list(found(rules.sweep_judged, sweep)) == [key]


@pytest.mark.parametrize(
    ("format_name", "precision", "output", "key"),
    [
        ("onnx", "int8", "float32", "precision"),
        ("keras", "float16", "float32", "precision"),
        ("litert", "dynamic", "uint8", "output"),
        ("litert", "int8", "uint8", None),
        ("onnx", "float32", "float32", None),
    ],
)
def test_formats_come_in_certain_precisions(format_name, precision, output, key):
    assert list(found(rules.precision_of_format, format_name, precision, output)) == ([key] if key else [])


@pytest.mark.parametrize(
    ("variants", "threads", "keys"),
    [
        (["keras", "litert-int8", "onnx-float32"], [1, 0], []),
        (["litert-int4"], [1], ["variants"]),
        ([], [1], ["variants"]),
        (["onnx"], [-1], ["threads"]),
        (["onnx"], [], ["threads"]),
    ],
)
def test_what_is_measured_must_be_known(variants, threads, keys):
    assert list(found(rules.variants_known, variants, threads)) == keys


def test_every_rule_is_in_the_list_that_validate_runs():
    written = {
        value
        for room in (rules, cloud_rules, edge_rules)
        for name, value in vars(room).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", "") == room.__name__
        and not isinstance(value, type)
    }
    assert {rule for _, rule in rules.RULES} == written
