"""What the recipes of the third and the fourth set of planted faults have in common."""

# What recipes begin with, by their data ...
SPIRAL_DATA = "data=toy data.kind=spiral data.n_samples=1500 data.split=60/20/20"
BLENDS_DATA = "data=arrays data.path={sets}/blends.csv data.target=y data.split=60/20/20"
PHASES_DATA = "data=arrays data.path={sets}/phases.npz"
SHAPES_DATA = "data=arrays data.path={sets}/shapes.npz"
SCENES_DATA = "data=arrays data.path={sets}/scenes.npz"
# ... their network ...
CNN = "model=cnn model.channels=[8,16,16] model.pool_every=1"
SMALL_CNN = "model=cnn model.channels=[8,16] model.pool_every=1 model.global_pool=false"
FACTS = "'+model.shape=${facts.shape}' '+model.outputs=${facts.outputs}'"
OWN = f"model=custom model._target_=tests.faults.parts.network {FACTS}"
BEGINNER = f"model=custom model._target_=tests.faults.parts.Beginner {FACTS}"
# ... and how they train.
ADAM = "optimizer=adam optimizer.lr=0.01"
ADAMW = "optimizer=adamw optimizer.lr=0.01"
FASTER = "optimizer=adam optimizer.lr=0.02"

ON_SPIRAL = f"{SPIRAL_DATA} model.hidden=[32,32]"
ON_BLENDS = f"{BLENDS_DATA} model.hidden=[24]"
ON_PHASES = f"{PHASES_DATA} model.hidden=[32,16]"

# Sound recipes, from which most faults are made.
SPIRAL = f"{ON_SPIRAL} {FASTER} epochs=30"
BLENDS = f"{ON_BLENDS} optimizer=nesterov epochs=20"
PHASES = f"{ON_PHASES} {ADAMW} epochs=15"
SHAPES = f"{SHAPES_DATA} epochs=12"

PHASES_FILE = f"data=arrays model.hidden=[32,16] {ADAMW} epochs=15"
DEEP_SHAPES = f"{SHAPES_DATA} model.hidden=[64,32] optimizer.lr=0.02 epochs=12"
OWN_PHASES = f"{PHASES_DATA} {OWN} +model.hidden=[32,16] {ADAMW} epochs=15"
MY_SPIRAL = f"{SPIRAL_DATA} {BEGINNER} {FASTER} epochs=30"

# The causes, by the conventions of the table.
SLOW = ("rate_too_low", "still_improving")
SHORT = ("still_improving", "underfit")
FAR_TOO_WILD = ("rate_too_high", "diverged")
STRICT = ("too_much_regularization", "underfit")
VANISHING = ("vanishing_gradient", "plateau")
FEW = ("too_little_data", "overfit")
LEARNED_BY_HEART = ("overfit", "too_little_data")
NOISED = ("distribution_shift", "overfit")
LINEAR = ("linear_network", "underfit")
NEVER_ALIVE = ("dead_units", "no_gradient")
SATURATED = ("saturated_units", "initial_loss")


def chosen(name: str) -> str:
    """The word that chooses a file of `sets`."""
    return f"data.path={{sets}}/{name}.npz"
