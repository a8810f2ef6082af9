"""Figures and tables of runs, read from their records alone, without any training code.

figures.py               all figures of a record: those of the next four
curves.py, rates.py      the curves of one run; its learning rates as a line of text
layers.py                the heat map of the layers of a run that was watched, and their curves
answers.py               predictions, the worst mistakes, confusion, reliability
sheet.py                 their title, and pictures beside and below each other
chart.py                 the figure of a procedure
gallery.py               images beside and below each other
inside.py                filters, histograms, inputs, the loss around the weights
results.py, run_page.py  what a run has come to, as a table; its page
comparison.py, paired.py what differs between runs, and whether a difference may be chance
diagnosis.py, underfit.py  the verdict after a training; known.py: what it is of
averages.py, course.py, splits.py  its parts: batch norm, the curves, what sets splits apart
brakes.py                what of a recipe has cut its steps, as facts of the record
error_parts.py           the error that is aimed at, in parts
forecast.py              what the losses so far say of those to come
sweep.py                 the table at a sweep's end, and its page: page.py, plots.py
steps.py, html.py        the page of a procedure of several steps; the pieces of any page
critic.py, evidence.py   what a sweep shows, and how sure that is; edges.py: of its ranges
runs.py                  what its runs say of themselves
commands.py              the commands that it proposes
findings.py, closing.py  findings, and the closing tables of procedures, on the terminal
"""
