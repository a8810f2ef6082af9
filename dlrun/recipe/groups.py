"""The groups of a recipe: each a folder of `conf/` and a room of the same name in `dlrun/`."""

GROUPS = (
    "data",
    "preprocessing",
    "augmentation",
    "model",
    "activation",
    "initializer",
    "loss",
    "optimizer",
    "schedule",
    "regularization",
    "test_augmentation",
    "procedure",
    "tracking",
)
"""In the order in which they are shown."""

SEVERAL = ("preprocessing", "augmentation", "regularization")
"""Those that allow several options at once; each nests under its own name."""

CHOICES = {
    "precision": ("float32", "bf16", "fp16"),
    "sampling": ("shuffle", "balanced", "stratified"),
    "class_weights": ("none", "balanced"),
    "scale_lr": ("none", "linear", "sqrt"),
    "decay": ("all", "weights"),
    "on_divergence": ("stop", "backoff"),
    "monitor": ("auto", "val/accuracy", "val/loss", "train/loss"),
}
"""The words that some settings beside the groups take."""
