"""What `dlrun --help` says about the command itself."""

WHAT = """\
dlrun trains deep networks from recipes: one choice from each group below, typed in the shell.
Every run is recorded, with curves and checkpoints in MLflow, and can be resumed."""

USAGE = """\
dlrun [group=option ...] [key=value ...]     train one recipe
dlrun -m key=a,b,c ...                       train every combination
dlrun resume=last [key=value ...]            go on with a run, where it was stopped
dlrun sync [run ...]                         deliver what a tracking server has missed
dlrun --help [group | group=option | key]    more about one of them, also: sync, resume"""

EXAMPLES = """\
dlrun
dlrun optimizer=adam optimizer.lr=0.001 epochs=10
dlrun model=cnn optimizer=adam augmentation=[rotate,crop] regularization=[l2,dropout]
dlrun data=imagefolder data.root=photos model=resnet schedule=cosine warmup='2 epochs'
dlrun -m optimizer=sgd,momentum,adam seed=0,1,2
dlrun resume=last epochs=40"""

FLAGS = (
    ("-m, --multirun", "a sweep: every combination of the values with commas between them"),
    ("-cd, --config-dir DIR", "recipes of your own; one of a packaged name replaces it"),
    ("-c, --cfg job", "print the recipe instead of training; with -p model, a part of it"),
    ("-i, --info defaults", "how the recipe was composed; also config, searchpath, plugins"),
    ("-sc, --shell-completion", "TAB completes groups, options and settings, see below"),
    ("--version", "the version of dlrun"),
    ("DLRUN_DEBUG=1 dlrun ...", "show the traceback of every error"),
)

COMPLETION = """\
bash   eval "$(dlrun -sc install=bash)"
zsh    autoload -Uz bashcompinit && bashcompinit && eval "$(dlrun -sc install=zsh)"
fish   dlrun -sc install=fish | source\n"""

_SYNC = """\
dlrun sync [run ...] [outputs=folder] [tracking.uri=http://...]

  Delivers what a tracking server has missed, each point once; prints a line for each run.

  run            by id, MLflow's id, directory, or last; a sweep's id is its summary. Without
                 any: all that were ever tracked. What had tracking=none must be named, and
                 what was deleted in MLflow comes back where it is named.
  outputs        where runs/ is; outputs by default
  tracking.uri   another server or database than the one that a run was tracked in. A run stays
                 with that one, whatever MLFLOW_TRACKING_URI says now.

  dlrun sync
  dlrun sync last tracking.uri=http://127.0.0.1:5000"""

_RESUME = """\
dlrun resume=last [key=value ...]

  Takes the recipe from the record of a run and goes on from its newest checkpoint, in the same
  directory and the same MLflow run. What is typed beside it replaces what was recorded.

  dlrun resume=last
  dlrun resume=last epochs=40 optimizer.lr=0.001"""

COMMANDS = {"sync": _SYNC, "resume": _RESUME}
"""What `dlrun --help <command>` says."""
