"""Figures and tables of runs, read from their records alone, without any training code.

curves.py, rates.py      the curves of one run; its learning rates as a line of text
layers.py                the heat map of the layers of a run that was watched, and their curves
chart.py                 the figure of a procedure
forecast.py              what the losses so far say of those to come
sweep.py                 the table at a sweep's end, and its page: page.py, plots.py
steps.py, html.py        the page of a procedure of several steps; the pieces of any page
critic.py, evidence.py   what a sweep shows, and how sure that is
commands.py              the commands that it proposes
findings.py              findings on the terminal
"""
