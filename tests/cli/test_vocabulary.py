"""Words of other libraries: each is answered by what it is called here."""

import re

import pytest

from dlrun.__main__ import main
from dlrun.recipe import suggest
from dlrun.recipe.catalogue import Catalogue
from tests.conftest import sparsely

CATALOGUE = Catalogue()
ROOT = [setting.key for setting in CATALOGUE.primary.root]


@pytest.mark.parametrize(
    ("typed", "right"),
    sparsely(
        [
            ("max_epochs=3", "did you mean epochs=3?"),
            ("trainer.max_epochs=3", "did you mean epochs=3?"),
            ("num_epochs=3", "did you mean epochs=3?"),
            ("n_epochs=3", "did you mean epochs=3?"),
            ("max_steps=300", "did you mean epochs='300 steps'?"),
            ("learning_rate=0.1", "did you mean optimizer.lr=0.1?"),
            ("weight_decay=0.1", "did you mean optimizer.weight_decay=0.1?"),
            ("wd=0.1", "did you mean optimizer.weight_decay=0.1?"),
            ("batch=8", "did you mean batch_size=8?"),
            ("bs=8", "did you mean batch_size=8?"),
            ("scheduler=step", "did you mean schedule=step?"),
            ("lr_scheduler=StepLR", "dlrun --help schedule lists them"),
            ("optim=adam", "did you mean optimizer=adam?"),
            ("arch=resnet50", "dlrun --help model lists them"),
            ("dataset=mnist", "did you mean data=mnist?"),
            ("transforms=[flip,crop]", "did you mean augmentation=[flip,crop]?"),
            ("loss_fn=mse", "did you mean loss=mse?"),
            ("criterion=nll", "dlrun --help loss lists them"),
            ("callbacks=early_stopping", "regularization=[early_stopping]"),
            ("metrics=accuracy", "did you mean metric=accuracy?"),
            ("metrics=f1", "did you mean metric=macro_f1?"),
            ("metrics=[AUC]", "did you mean metric=[auroc]?"),
            ("metrics=[roc_auc,R2Score]", "did you mean metric=[auroc,r2]?"),
            ("metrics=[rouge]", "here it is metric=...; dlrun --help metric lists them"),
            ("eval_metric=ece", "did you mean metric=calibration_error?"),
            ("checkpoint=best", "checkpoint_every="),
            ("gpus=1", "device=cuda"),
            ("accelerator=gpu", "device=cuda"),
            ("num_workers=4", "decoded once"),
            ("auto_lr_find=true", "procedure=find_lr tries learning rates and proposes one"),
            ("trainer.auto_lr_find=true", "procedure=find_lr"),
            ("lr_find=true", "procedure=find_lr"),
            ("find_lr=true", "did you mean procedure=find_lr?"),
            ("overfit_batches=10", "procedure=overfit trains on a few samples"),
            ("n_estimators=10", "procedure=bagging procedure.models=10 averages models of rows"),
        ],
        2,
    ),
)
def test_the_word_here(typed, right, capsys):
    assert main([typed]) == 2
    shown = capsys.readouterr().err
    assert f"{typed}: there is no setting '{typed.partition('=')[0]}'; " in shown
    assert right in shown


# The words of `words.yaml`, each beside a library or tool whose users type it.
LIBRARIES = {
    "PyTorch, torchvision and their examples": (
        "num_epochs n_epochs manual_seed clip_grad_norm log_interval root transforms transform "
        "normalize hidden_channels net arch nonlinearity loss_fn criterion optim scheduler "
        "lr_scheduler dataset checkpoint gpu no_cuda num_workers amp"
    ),
    "Keras": (
        "learning_rate nb_epoch metrics callbacks units kernel_initializer kernel_regularizer "
        "validation_split tuner image_size"
    ),
    "Lightning": (
        "max_epochs max_steps accumulate_grad_batches gradient_clip_val val_check_interval "
        "check_val_every_n_epoch log_every_n_steps ckpt_path default_root_dir datamodule logger "
        "gpus devices accelerator enable_checkpointing auto_lr_find overfit_batches"
    ),
    "Hugging Face": (
        "num_train_epochs per_device_train_batch_size gradient_accumulation_steps max_grad_norm "
        "warmup_steps num_warmup_steps eval_steps logging_steps save_steps output_dir run_name "
        "resume_from_checkpoint lr_scheduler_type report_to fp16 bf16 mixed_precision "
        "compute_metrics max_train_samples"
    ),
    "fastai": "base_lr wd n_epoch bs dls cbs loss_func opt_func lr_find fine_tune",
    "papers on transfer, and their code": (
        "pretrained_weights finetune freeze_backbone freeze_layers linear_probe llrd "
        "layerwise_lr_decay backbone_lr head_lr lr_mult"
    ),
    "timm": (
        "opt sched warmup_epochs clip_grad img_size input_size data_dir act_layer weight_init "
        "workers pretrained initial_checkpoint"
    ),
    "scikit-learn": (
        "learning_rate_init max_iter random_state hidden_layer_sizes test_size shuffle "
        "preprocessor scoring n_estimators bootstrap"
    ),
    "Ultralytics": "lr0 batch imgsz project save_dir half",
    "MMEngine": "max_iters checkpoint_interval resume_from architecture backbone",
    "DeepSpeed, nanoGPT": "train_batch_size init_lr eval_interval out_dir",
    "gradient boosting": "eta iterations random_seed eval_metric",
    "TensorBoard, MLflow, Albumentations": "log_dir experiment_name augmentations",
    "Hydra": "sweeper hydra/sweeper",
    "TensorBoard, Weights & Biases, Lightning": (
        "activations curvature hessian histogram_freq log_freq log_gradients sharpness "
        "track_grad_norm"
    ),
    "papers on ensembles": "n_models num_models ensemble_size",
    "Keras, Hugging Face: weights": "load_weights finetune_from frozen",
    "others": "regularizer bit_depth lr_finder",
}
METRICS = {
    "Keras": (
        "acc categorical_accuracy sparse_categorical_accuracy topkcategoricalaccuracy f1score auc "
        "meanabsoluteerror rootmeansquarederror r2score"
    ),
    "scikit-learn": (
        "accuracy_score top_k_accuracy_score balanced_accuracy_score precision_score "
        "precision_macro recall_score recall_macro f1 f1_score f1_macro fbeta_score roc_auc "
        "roc_auc_score roc_auc_ovr average_precision_score brier_score_loss neg_brier_score "
        "mean_absolute_error neg_mean_absolute_error root_mean_squared_error "
        "neg_root_mean_squared_error r2_score"
    ),
    "fastai, torchmetrics": "top_k_accuracy rocauc averageprecision calibrationerror",
    "papers and contests": (
        "top5_accuracy top_5_accuracy sensitivity fscore ap map pr_auc auprc ece "
        "expected_calibration_error brier_score r_squared"
    ),
}
RANGES = {
    "Optuna": "suggest_float suggest_uniform suggest_loguniform suggest_discrete_uniform "
    "suggest_int suggest_categorical",
    "Hyperopt": "uniform loguniform quniform qloguniform normal lognormal uniformint choice",
    "Ray Tune": "randint qrandint lograndint qlograndint randn grid_search",
    "Weights & Biases": "log_uniform q_uniform q_log_uniform int_uniform",
    "NumPy, SciPy": "linspace logspace arange reciprocal",
    "scikit-optimize": "real integer categorical",
    "dlrun": "interval",
}


def test_every_word_is_one_that_users_of_some_library_type():
    tables = ("settings", "groups", "sayings")
    known = [word for table in tables for word in suggest.words(table)]
    assert sorted(known) == sorted(" ".join(LIBRARIES.values()).split())
    assert sorted(suggest.words("metrics")) == sorted(" ".join(METRICS.values()).split())
    assert sorted(suggest.words("ranges")) == sorted(" ".join(RANGES.values()).split())


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_is_answered(library):
    for word in LIBRARIES[library].split():
        for typed in (word, f"trainer.{word}", word.upper()):
            said = suggest.here(typed, "3", CATALOGUE)
            assert said.startswith("; ")
            assert said.endswith("?") or "=" in said


@pytest.mark.parametrize("library", RANGES)
def test_each_range_is_written_as_here(library):
    for word in RANGES[library].split():
        said = suggest.distribution(f"optimizer.lr={word}(1,2,3)")
        assert re.match(r"write -m (sweep=random )?'optimizer\.lr=[a-z(,]+\(", said), word


@pytest.mark.parametrize("template", sorted(set(suggest.words("settings").values())))
def test_what_is_proposed_is_a_setting(template):
    key = template.partition("=")[0]
    assert key in ROOT or CATALOGUE.settings(key)


@pytest.mark.parametrize("library", METRICS)
def test_each_metric_is_called_as_here(library):
    options = CATALOGUE.options("metric")
    for word in METRICS[library].split():
        assert word not in options
        assert suggest.words("metrics")[word] in options
        said = suggest.option("metric=x", "metric", word.upper(), list(options))
        assert said.endswith(f"; did you mean {suggest.words('metrics')[word]}?")


def test_no_word_is_one_of_dlrun_itself():
    tables = [suggest.words(name) for name in ("settings", "groups", "sayings")]
    words = {word for table in tables for word in table}
    assert not words & {*ROOT, *CATALOGUE.groups}
    assert set(suggest.words("groups").values()) <= set(CATALOGUE.groups)
    assert len(words) == sum(map(len, tables)), "a word that means two things"
