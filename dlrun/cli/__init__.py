"""The command line: from the typed words to a job or a sweep, and to an exit code.

Nothing heavy is imported here: help and TAB answer before torch would have loaded.

command.py   which command it is
launch.py    one job, or a sweep of them; --cfg and --info
help.py, usage.yaml             dlrun --help, from the YAML files
completion.py, completion.yaml  TAB, from the YAML files
"""
