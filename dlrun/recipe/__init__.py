"""What a recipe means: from typed overrides to a checked configuration and a Run.

flags.py                  the flags of a command, apart from the overrides
schema.py                 the groups, and the settings that every recipe has
catalogue.py              groups, options and settings, read from the YAML files
compose.py                overrides to a recipe: the one module that drives Hydra
settle.py                 what of an experiment gives way to what is typed
resume.py, differences.py the overrides of a recorded run merged with those typed now
mistakes.py, faulty.py    what is wrong with the overrides, and with the user's YAML files
grammar.py                why Hydra cannot read a value
suggest.py, words.yaml    what would be right; what other libraries call it
experiment.py             experiments: their short form, and of which commands they expect what
expect.py                 what may be expected of a recipe, by which names
signature.py              the arguments of a `_target_`, checked before it is called
instantiate.py            an ingredient from its part of the recipe
task.py                   the loss of the task, where none is chosen
named.py                  freeze=, lr_of= and others that name parameters
start.py                  weights=: what a training starts from
checks.py                 whether the ingredients fit each other
build.py                  a Run from a recipe
values.py                 which values an option refuses, before a sweep trains any
notes.py                  what a recipe comes to, in lines before a training
view.py                   a recipe to read from, as plain values and by its settings' names
identity.py               the hash that a recipe is known by
once.py                   what many recipes have in common, made once
"""
