"""What is done with records: `dlrun <verb> [run ...] [key=value ...] [--flag]`.

Each verb has an entry in verbs.yaml (its help, keys and flags) and a module of its name here,
with one function:

    run(asked: Asked) -> int       the exit code

asked.py    the words of such a command, sorted
opened.py   a run made anew from its record, and data to put through it
labelled.py, inputs.py   samples with labels to measure it on; files to predict
clean.py, compare.py, evaluate.py, export.py, list.py, predict.py, show.py, sync.py   the verbs

Nothing heavy is imported before a verb needs it: help and TAB read verbs.yaml alone.
"""
