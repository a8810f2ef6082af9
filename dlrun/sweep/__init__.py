"""Sweeps: many recipes, each trained once, and what came of each.

How a point travels, and the module of each stop:

    command.py    the words after -m become one sweep, or several stages of one
    plan.py       what is asked: the settings checked, the sweep's id
    space.py      words with several values become dimensions; a grid of all points
    ablation.py   or a recipe becomes points, each without one of its ingredients
    samplers.py   Optuna's samplers, their settings checked
    search.py     proposes the values of the next point, and a pruner that may stop its run
    recipes.py    values become a recipe, known by its hash
    objective.py  some are built, which says what all are judged by
    driver.py     asks the search for points, turns each into tasks, one for each seed
    runs.py       a run on disk with the same recipe is taken over, or resumed
    launchers.py  tasks are trained here, or where a launcher of Hydra starts jobs
    claims.py     while a process trains a recipe, others wait for what it finds
    stacks.py     those that are faster at once train as one network
    task.py       the run is trained and recorded; its record says what came of it
    ledger.py     that is written down, and told to the search
    summary.py    one more record stands for the whole sweep in MLflow
    dry_run.py    or every point is built and timed, and none is trained

At the end the driver has the best run measured on the test split. What is on disk is described
and read in `dlrun.record.sweep`, from which `dlrun.report` draws the table and the page.
"""
