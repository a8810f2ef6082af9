"""Training one run: the loop and what it needs, without Hydra, MLflow or a screen.

run.py         the plain parts of a run
transfer.py, freezing.py   weights that it starts from; parameters that are not trained
preflight.py   checks before the training: all, and those of the loss and the network
data_checks.py, signal_checks.py   of the data; of what passes through the network
loss_sense.py  whether a loss teaches right answers
near_copies.py, target_leak.py   samples, and inputs, that give the answer away
sentinel.py, outlying.py   numbers of a table that mark a missing value, or lie far from all others
feed.py        a split on the device, preprocessed once where that is possible
shared.py      what runs on the same data have in common, made once
batches.py, sampling.py   its mini-batches; the order of the samples in an epoch
step.py, train.py   one step; the loop; ending.py: rules that end it instead of the recipe's
timing.py      where the time of a step goes
evaluate.py, batch_statistics.py   loss and quality of a split; statistics of batch norm
report_card.py   answers by class, by confidence, and the worst of them
committee.py   several models as one
constant.py    the best constant answer, which is what guessing gives
distance.py    how far samples lie from each other
shift.py       how the inputs of two splits lie
answers.py     a little of what is said of each sample, for figures and comparisons
inside.py, surface.py   what is in a network, and the loss around its weights
state/, checkpoint.py   what changes while it trains, and its file
look.py        a look that changes nothing
watch.py       a look at the layers (layers.py, signal.py) and at the sharpness (sharpness.py)
memory.py      what the user's own parts remember beside what torch saves of them
noise_scale.py   how noisy the gradient is
trial.py, restraint.py   steps after a training; what restrained it, put upon them
examine.py     what a diagnosis needs to know of a trained run
divergence.py  a loss that diverges
eager.py       optimizers without importing torch.compile, which takes seconds
count.py       parameters and operations of a model
device.py      the device and the number of threads
interrupt.py   SIGINT and SIGTERM
"""
