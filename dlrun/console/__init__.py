"""What the terminal shows.

progress.py   while a run goes on
siblings.py   while several go on at once
summary.py    when it has ended
standard.py   the standard streams, which may be full
screen.py     standard output for what is shown meanwhile
outcome.py    what went wrong, and the exit code
"""
