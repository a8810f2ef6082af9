"""One job: from a recipe to its recorded runs.

factory.py   makes the runs that a procedure asks for, and records them
session.py   what the jobs of one process share: the data and the way to MLflow
code.py      the user's own code, known by its content
"""
