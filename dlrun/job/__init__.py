"""One job: from a recipe to its recorded runs.

factory.py    a job of a command or of a sweep; what a run that has ended still lacks
lab.py        trains the runs that a procedure describes
words.py      what was typed, and how other settings of the recipe are typed
stacked.py    trainings that run at once as one network
training.py   a training that a procedure wants becomes a run
verdict.py    checks before a training, diagnosis after it
own_record.py the record of a procedure of several runs
recorded.py   runs that have been trained, as their records say
recording.py  the record of a run: begun, or taken up again with resume=
session.py    what the jobs of one process share: the data and the way to MLflow
code.py       the user's own code, known by its content
"""
