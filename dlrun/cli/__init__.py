"""The command line: from the typed words to a job or a sweep, and to an exit code.

Nothing heavy is imported here: help and TAB answer before torch would have loaded.

flags.py        the flags, apart from the overrides
launch.py       one job, or a sweep of them
help.py, completion.py   dlrun --help and TAB, from the YAML files
"""
