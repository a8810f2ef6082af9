"""What users of other libraries type, and what it is called here."""

from collections.abc import Sequence
from pathlib import Path

from dlrun import shell
from dlrun.recipe import catalogue

_SETTINGS = {
    "optimizer.lr={}": "learning_rate learningrate base_lr init_lr lr0 eta step_size",
    "optimizer.weight_decay={}": "wd",
    "epochs={}": "max_epochs num_epochs n_epochs nb_epochs n_epoch nb_epoch num_train_epochs",
    "epochs='{} steps'": "max_steps num_steps n_steps max_iter iterations",
    "warmup='{} epochs'": "warmup_epochs num_warmup_epochs",
    "warmup='{} steps'": "warmup_steps num_warmup_steps",
    "batch_size={}": "batch bs batchsize minibatch_size train_batch_size",
    "accumulate={}": "accumulate_grad_batches gradient_accumulation_steps grad_accum",
    "clip_norm={}": "grad_clip clip_grad clip_grad_norm gradient_clip_val max_grad_norm",
    "seed={}": "random_seed manual_seed random_state rng_seed",
    "validate_every={}": "val_check_interval check_val_every_n_epoch eval_every eval_interval",
    "log_every={}": "log_every_n_steps log_interval",
    "checkpoint_every={}": "save_every save_steps checkpoint_interval",
    "resume={}": "resume_from_checkpoint resume_from ckpt_path",
    "outputs={}": "output_dir save_dir log_dir logdir default_root_dir",
    "name={}": "run_name",
    "tracking.experiment={}": "experiment_name project project_name",
    "data.root={}": "data_dir data_root data_path root",
    "data.size={}": "img_size image_size input_size",
    "data.depth={}": "bit_depth bitdepth",
    "model.hidden={}": "hidden_sizes hidden_layers hidden_dims layers units",
}
_GROUPS = {
    "data": "dataset datasets datamodule dm",
    "preprocessing": "preprocess preprocessor normalize",
    "augmentation": "transforms transform train_transforms aug augment augmentations",
    "model": "arch architecture network net backbone",
    "activation": "act act_fn act_layer nonlinearity",
    "initializer": "init initialization weight_init kernel_initializer",
    "loss": "loss_fn loss_function criterion",
    "optimizer": "optim opt optimizers",
    "schedule": "scheduler schedulers lr_scheduler lr_schedule sched",
    "regularization": "reg regularizer regularizers",
    "tracking": "logger loggers logging",
    "sweep": "sweeper search tuner hydra/sweeper",
}
_SAYINGS = {
    "regularization=[early_stopping] stops early, schedule=plateau cuts the rate, and "
    "checkpoint_every='1 epochs' says how often to save": "callbacks callback cbs",
    "accuracy and loss are always recorded; monitor=val/loss makes the best checkpoint the one "
    "of the least loss": "metrics metric",
    "checkpoint_every='200 steps' says how often one is written, and resume=last goes on "
    "from it": "checkpoint checkpoints ckpt checkpointing enable_checkpointing",
    "device=cuda trains on a GPU, device=cuda:1 on the second, device=cpu on none": (
        "gpus gpu num_gpus devices accelerator use_cuda cuda"
    ),
    "precision=bf16 or precision=fp16": "amp use_amp mixed_precision fp16 bf16 half",
    "images are decoded once, so nothing loads them beside training; threads=4 is for torch": (
        "num_workers workers"
    ),
    "data.split=60/20/20 says how much is for training, validation and test": (
        "val_split validation_split val_size test_size split"
    ),
    "every epoch is shuffled; sampling=balanced and sampling=stratified are other orders": (
        "shuffle"
    ),
}
_OUTER = ("trainer", "training", "train", "fit", "args", "hparams", "hyperparameters", "solver")
_COMMANDS = {
    "dlrun --help lists what there is, dlrun --help {} says more about it": (
        "help list ls show options info"
    ),
    "dlrun alone trains the default recipe, dlrun {} another": "train run start fit",
    "dlrun --version says it": "version",
    "dlrun resume=last goes on with the last run": "resume continue",
    "dlrun -m optimizer=sgd,adam trains every combination; dlrun --help sweep": (
        "sweep search tune multirun grid"
    ),
    "mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db shows the runs": "ui mlflow",
    "the test split is measured at the end of every run": "test eval evaluate",
}


def _turned(table: dict[str, str]) -> dict[str, str]:
    return {word: here for here, words in table.items() for word in words.split()}


SETTINGS, GROUPS, SAYINGS = _turned(_SETTINGS), _turned(_GROUPS), _turned(_SAYINGS)
COMMANDS = _turned(_COMMANDS)


def within(key: str) -> str:
    """The key without what other libraries put before all keys: trainer.lr is lr."""
    outer, _, rest = key.partition(".")
    return rest if rest and outer in _OUTER else key


def here(key: str, value: str, directories: Sequence[Path]) -> str:
    """`; ...` that says what a key of another library is here, or nothing where it is none."""
    key = within(key).lower()
    if key in SETTINGS:
        return f"; did you mean {SETTINGS[key].format(value)}?"
    if key in SAYINGS:
        return f"; {SAYINGS[key]}"
    if key not in GROUPS:
        return ""
    group = GROUPS[key]
    options = catalogue.options(group, directories)
    if all(name in options for name in value.strip("[]").split(",")):
        return f"; did you mean {group}={value}?"
    return f"; here it is {group}=...; dlrun --help {group} lists them"


def command(word: str, after: str) -> str:
    """`; ...` that says how to do what `dlrun <word> <after>` asks for, or nothing."""
    if word not in COMMANDS:
        return ""
    trains = COMMANDS[word] == COMMANDS["train"]
    usual = "model=cnn" if trains else "optimizer"
    fits = "=" in after or (after and not trains)
    return f"; {COMMANDS[word].replace('{}', shell.quote(after) if fits else usual)}"
