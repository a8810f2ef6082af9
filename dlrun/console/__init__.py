"""What the terminal shows.

progress.py   while a run goes on
siblings.py   while several go on at once
summary.py    when it has ended
screen.py     standard output, which may be closed
outcome.py    what went wrong, and the exit code
format.py     numbers, short
"""
