"""The command: from what is typed to a composed recipe, and from what went wrong to a message.

flags.py        the flags, apart from the overrides
catalogue.py, lookup.py   groups, options and settings, read from the text of the YAML files
help.py, usage.py, completion.py    dlrun --help and TAB, from the catalogue alone
compose.py      overrides to a recipe: where dlrun meets Hydra
resume.py       the overrides of a recorded run, merged with those typed now
mistakes.py, choices.py, grammar.py   what is wrong with the overrides
trial.py      which of them is at fault where composing fails; faulty.py  which file
nearest.py, vocabulary.py what would be right; what other libraries call it
launch.py       one job, or a sweep of them
outcome.py      how a command ends that went wrong
"""
