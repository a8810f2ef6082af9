"""What a recipe means: from typed overrides to a checked configuration and a Run.

flags.py                  the flags, apart from the overrides
schema.py                 the groups, and the settings that every recipe has
catalogue.py, lookup.py   groups, options and settings, read from the text of the YAML files
compose.py                overrides to a recipe: where dlrun meets Hydra
resume.py, differences.py the overrides of a recorded run merged with those typed now
mistakes.py, choices.py, grammar.py   what is wrong with the overrides
trial.py, faulty.py       which override, and which file, is at fault where composing fails
nearest.py, vocabulary.py what would be right; what other libraries call it
signature.py              the arguments of a `_target_`, checked before it is called
instantiate.py            an ingredient from its part of the recipe
checks.py                 whether the ingredients fit each other
build.py                  a Run from a recipe
"""
