"""Wrong commands: each must end at once with one short message that says what is right."""

import os

import numpy as np
import pytest
import torch

from dlrun.__main__ import main
from tests.conftest import sparsely

# command, what the message must contain: the key, the value, the nearest right one
COMPOSING = [
    (
        "+experiment=whitening data.correlation=0.5",
        "data.correlation=0.5",
        "is an argument of badly_scaled that the recipe leaves out; write +data.correlation=0.5",
    ),
    (
        "+experiment=dropout +experiment=max_norm",
        "+experiment=max_norm",
        "there is +experiment=dropout already; name one experiment",
    ),
    ("optimizer=adamm", "optimizer=adamm", "did you mean adam?"),
    ("optimizer=sdg", "optimizer=sdg", "did you mean sgd?"),
    ("seed=12,", "seed=12,", "write seed=12\n"),
    ("augmentation=[flip crop]", "crop]", "a list has commas and no spaces: 'augmentation=[flip,"),
    ("model.hidden=[64, 32]", "32]", "a list has commas and no spaces: 'model.hidden=[64,32]'"),
    ("optimizer.rl=1", "optimizer.rl=1", "did you mean optimizer.lr=1?"),
    ("optimiser=adam", "optimiser=adam", "did you mean optimizer=adam?"),
    ("optimiser.lr=1", "optimiser.lr=1", "did you mean optimizer.lr=1?"),
    ("optimizer.lrr=1", "optimizer.lrr=1", "did you mean optimizer.lr=1?"),
    ("optimizer.betas=1", "optimizer.betas=1", "it is a setting of optimizer="),
    ("optimizer=", "optimizer=", "choose one of ada"),
    ("optimizer=5", "optimizer=5", "choose one of ada"),
    ("optimizer=null", "optimizer=null", "choose one of ada"),
    ("optimizer=[adam,sgd]", "optimizer=[adam,sgd]", "-m optimizer=adam,sgd"),
    ("optimizer@x=adam", "optimizer@x", "optimizer"),
    ("augmentation=null", "augmentation=null", "augmentation=none"),
    ("metric=[auroc,auroc]", "metric=[auroc,auroc]", "names auroc twice"),
    ("-m augmentation=[flip],[flip,crop,flip]", "[flip,crop,flip]", "names flip twice"),
    ("regularization=[l2,dropot]", "regularization=[l2,dropot]", "did you mean dropout?"),
    ("regularization.l2.strength=1", "regularization.l2.strength=1", "regularization=[l2]"),
    (
        "regularization=[l2] regularization.l2.strenth=1",
        "regularization.l2.strenth=1",
        "did you mean regularization.l2.strength=1?",
    ),
    ("model=mynet.Net", "model=mynet.Net", "model=custom model._target_=mynet.Net"),
    ("model=linear model.hidden=[3]", "model.hidden=[3]", "it is a setting of model="),
    ("model.hidden=[50", "model.hidden=[50", "a ] is missing"),
    ("name='abc", "name='abc", "a quotation mark is missing\n"),
    ("name=it's", "name=it's", r"""write 'name='"'"'it\'"'"'s'"'"''"""),
    ("epoch=3", "epoch=3", "did you mean epochs=3?"),
    ("lr=0.1", "lr=0.1", "did you mean optimizer.lr=0.1?"),
    ("hidden=[3]", "hidden=[3]", "did you mean model.hidden=[3]?"),
    ("samples=100", "samples=100", "did you mean data.samples=100?"),
    ("train_dev=5%", "train_dev=5%", "did you mean data.train_dev=5%?"),
    ("group=patient", "group=patient", "data.group=patient, a setting of data=arrays"),
    ("data.group=patient", "data.group=patient", "it is a setting of data=arrays"),
    ("classes=[3,8]", "classes=[3,8]", "did you mean data.classes=[3,8]?"),
    ("data.sample=100", "data.sample=100", "did you mean data.samples=100?"),
    ("dropout=0.5", "dropout=0.5", "did you mean regularization=[dropout]?"),
    ("visible=0.1", "visible=0.1", "regularization.dropout.visible=0.1"),
    ("epochs.x=1", "epochs.x=1", "epochs=1"),
    ("seed=abc", "seed=abc", "expected a whole number"),
    ("seed=null", "seed=null", "expected a whole number"),
    ("seed=[1]", "seed=[1]", "expected a whole number"),
    ("accumulate=1.5", "accumulate=1.5", "expected a whole number"),
    ("clip_norm=big", "clip_norm=big", "expected a number or null"),
    ("test=maybe", "test=maybe", "expected true or false"),
    ("seed=0,1", "seed=0,1", "-m"),
    ("batch_size=2.0", "batch_size=2.0", "must be a whole number above 0, or full"),
    ("clip_norm=-1", "clip_norm=-1:", "must be"),
    ("epochs=range(1,3)", "epochs=range(1,3)", "need -m\n"),
    ("optimizer.lr=choice(0.1,0.2)", "optimizer.lr=choice(0.1,0.2)", "need -m\n"),
    ("optimizer.lr=0,1", "optimizer.lr=0,1", "for one number write optimizer.lr=0.1\n"),
    ("clip_norm=1,5", "clip_norm=1,5", "for one number write clip_norm=1.5\n"),
    ("name=a,b", "name=a,b", "need -m; for one text with a comma write \"name='a,b'\"\n"),
    ("data.path=a,b.csv", "data.path=a,b.csv", "write \"data.path='a,b.csv'\"\n"),
    ("data.root=choice(a,b)", "data.root=choice(a,b)", "several values are a sweep and need -m\n"),
    ("model.hidden=choice(3,4)", "model.hidden=choice(3,4)", "one list is model.hidden=[3,4]\n"),
    ("freeze=stem,head", "freeze=stem,head", "one list is freeze=[stem,head]\n"),
    ("data.classes=3,8", "data.classes=3,8", "one list is data.classes=[3,8]\n"),
    ("weights=a,b", "weights=a,b", "write \"weights='a,b'\"\n"),
    ("-m weights=choice(a,b)", "weights=a", "no run 'a'"),
    ("-m resume=last,foo", "resume goes on with one run", "leave out -m"),
    ("-m resume=choice(a,b) seed=0", "resume goes on with one run", "leave out -m"),
    ("resume=last,foo", "resume=last,foo", "takes one value"),
    ("resume=choice(a,b)", "resume=choice(a,b)", "takes one value"),
    ("weights=a outputs=x,y", "outputs=x,y", "takes one value"),
    ("resume=", "resume=: names no run", "resume=last"),
    ("-m seed=0 resume=", "resume=: names no run", "resume=last"),
    ("outputs=''", "outputs=''", "name a directory; . is this one"),
    ("tracking.uri=", "tracking.uri=", "names no store"),
    ("data.cache=", "data.cache=", "name a directory"),
    ("list outputs=", "outputs=", "name a directory; . is this one"),
    ("-m seed=0,abc", "seed=abc", "expected a whole number"),
    ("-m optimizer=adam,adamm", "optimizer=adam,adamm", "did you mean adam?"),
    ("-m model=mlp,linear model.hidden=[3]", "model.hidden=[3]", "not every recipe"),
    ("+epochs=3", "+epochs=3", "write epochs=3"),
    ("+optimizer=adam", "+optimizer=adam", "write optimizer=adam"),
    ("+optimizer.lr=1", "+optimizer.lr=1", "write optimizer.lr=1"),
    ("+epoch=3", "+epoch=3", "did you mean epochs=3?"),
    ("++foo=1", "++foo=1", "--help"),
    ("~model", "~model", "model="),
    ("~epochs", "~epochs", "cannot be taken away"),
    ("~optimizer.momentun", "~optimizer.momentun", "~optimizer.momentum"),
    ("++optimizer=adam", "++optimizer=adam", "write optimizer=adam"),
    ("++epochs=x", "epochs=x", "'5 epochs'"),
    ("-p model", "-p model: ", "shows a part of a recipe; write it after --cfg job"),
    ("--resolve", "--resolve: ", "write it after --cfg job"),
    ("--info config -p model", "-p model: ", "write it after --cfg job"),
    ("--cfg job -p optimiser", "-p optimiser", "did you mean optimizer?"),
    ("--cfg job -p model.nonsense", "-p model.nonsense", "no such part"),
    ("-m --cfg job optimizer=sgd,adam", "optimizer=sgd,adam", "leave out -m and write one value"),
    ("-m --info config epochs=1,2", "epochs=1,2: --info shows", "leave out -m and write one"),
    ("facts.outputs=3", "facts.outputs=3", "comes from the data"),
    ("~facts.shape", "~facts.shape", "comes from the data"),
    ("~procedure", "~procedure", "choose procedure="),
    ("procedure=cross_validation", "procedure=cross_validation", "did you mean cross_validate?"),
    (
        "loss.delta=1",
        "loss.delta=1",
        "loss=auto has no setting 'delta'; it is a setting of loss=huber",
    ),
    ("loss=mse loss.delta=1", "loss.delta=1", "it is a setting of loss=huber"),
    ("sampling=random", "sampling=random", "must be one of shuffle, fixed, replacement"),
    ("divergence=[explosion,nan]", "divergence=", "not_finite, explosion, oscillation"),
    (
        "regularization=[dropconnect] regularization.dropconnect.inference=gaussian "
        "model.norm=batch",
        "inference=gaussian: needs an activation",
        "here comes a BatchNorm1d; use inference=mean",
    ),
    ("loss.dleta=1", "loss.dleta=1", "it has no settings"),
    (
        "metric=[top5] metric.top5.k=3",
        "metric.top5.k=3",
        "has no setting 'top5.k'; it has no setti",
    ),
    (
        "regularization=[dropout] regularization.dropout.rate=0.3",
        "has no setting 'dropout.rate'; it has",
        "dropout.hidden, dropout.visible, dropout.convolution, dropout.rates, dropout.scales\n",
    ),
    (
        "regularization=[dropout] regularization.dropout.rate=keep",
        "regularization.dropout.rate=keep",
        "did you mean regularization.dropout.rates=keep?",
    ),
    (
        "augmentation=[rotate] augmentation.rotate.angle=30",
        "augmentation.rotate.angle=30",
        "it has rotate.degrees, rotate.mode\n",
    ),
    ("loss=automatic", "loss=automatic", "choose one of auto, bce"),
    ("folds=5", "folds=5", "procedure.folds=5, a setting of procedure=cross_validate"),
    ("procedure.folds=5", "procedure.folds=5", "it is a setting of procedure=cross_validate"),
    ("procedure=cross_validate folds=5", "folds=5", "did you mean procedure.folds=5?"),
    ("procedure=cross_validate procedure.folds=x", "procedure.folds=x", "a whole number"),
    ("procedure=retrain run=last", "run=last", "did you mean procedure.run=last?"),
    (
        "procedure=find_lr rates=[0.1,0.01]",
        "rates=[0.1,0.01]",
        "did you mean procedure.rates=[0.1,0.01]?",
    ),
    ("procedure=find_lr method=range", "method=range", "did you mean procedure.method=range?"),
    ("procedure=overfit samples=[1,10]", "samples=[1,10]", "procedure.samples=[1,10]?"),
    ("procedure=start epoch=5", "epoch=5", "did you mean epochs=5?"),
    ("procedure=start fine_epochs=5", "fine_epochs=5", "did you mean procedure.fine_epochs=5?"),
    ("procedure=start procedure.rates=x", "procedure.rates=x", "a whole number"),
    ("-m procedure=start seed=0,1", "procedure=start", "leave out -m"),
    ("procedure=time seconds=5", "seconds=5", "did you mean procedure.seconds=5?"),
    ("procedure=time procedure.seconds=x", "procedure.seconds=x", "a number"),
    ("procedure=lr_find", "procedure=lr_find", "find_lr"),
    ("procedure=bagging models=10", "models=10", "did you mean procedure.models=10?"),
    ("models=10", "models=10", "procedure.models=10, a setting of procedure=bagging"),
    ("models=cnn", "models=cnn", "did you mean model=cnn?"),
    ("procedure=bagging features=50%", "features=50%", "did you mean procedure.features=50%?"),
    ("procedure=ensemble seeds=5", "seeds=5", "did you mean procedure.seeds=5?"),
    ("procedure=ensemble runs=[a,b]", "runs=[a,b]", "did you mean procedure.runs=[a,b]?"),
    ("procedure=ensembel", "procedure=ensembel", "did you mean ensemble?"),
    ("procedure=bagging procedure.models=many", "procedure.models=many", "a whole number"),
    ("procedure=ensemble procedure.runs=last", "procedure.runs=last", "a list of"),
    ("procedure.rates=[0.1]", "procedure.rates=[0.1]", "a setting of procedure=find_lr"),
    ("~activation", "~activation", "choose activation="),
    ("~initializer", "~initializer", "choose initializer="),
    ("regularization={l2:{}}", "regularization={l2:{}}", "regularization.name=value"),
    ("optimizer={lr:1}", "optimizer={lr:1}", "optimizer.name=value"),
    ("regularization.l2=null", "regularization.l2=null", "regularization=[l2]"),
    ("name='\udcff'", "name='\\udcff'", "not UTF-8 text"),
    ("-m seed=glob(*)", "seed=glob(*)", "options of a group"),
    ("-m optimizer=glob(z*)", "optimizer=glob(z*)", "leaves no value"),
    ("-m seed=range(0,1000000000)", "seed=range(0,1000000000)", "more than 100,000 values"),
    ("-m optimizer.lr=range(0,1,1e-9)", "optimizer.lr=range(0,1,1e-9)", "more than 100,000 values"),
    ("-m seed=range(0,5,0)", "seed=range(0,5,0)", "range(first,end,step)"),
    ("-m seed=range(5,0)", "seed=range(5,0)", "range(first,end,step)"),
    ("-m seed=range(0,nan)", "seed=range(0,nan)", "range(first,end,step)"),
    ("-m seed=range(400) batch_size=range(1,400)", "a grid of 159,600 points", "sweep=random"),
    ("-m optimizer.lr=interval(0,1)", "optimizer.lr=interval(0", "sweep=random"),
    ("-m optimizer.lr=interval(0,inf) sweep=random", "optimizer.lr=interval(0,inf)", "finite"),
    ("model.hidden.x=1", "model.hidden.x=1", "model.hidden is a list; write all of it"),
    ("data.split.x=1", "data.split.x=1", "data.split is a list"),
    (
        "schedule=multistep schedule.milestones.foo=1",
        "schedule.milestones.foo=1",
        "schedule.milestones is a list",
    ),
    ("~model.hidden.0", "~model.hidden.0", "model.hidden is a list"),
    ("~model.hidden.x", "~model.hidden.x", "model.hidden is a list"),
    ("+model.hidden.x=1", "+model.hidden.x=1", "model.hidden is a list"),
    ("model.hidden={}", "model.hidden={}", "model.hidden is a list"),
    ("-m model.hidden.x=1,2", "model.hidden.x=1", "model.hidden is a list"),
    ("hydra=null", "hydra=null", "hydra.name=value"),
    ("-m seed=range(0,2),5", "seed=range(0,2),5", "a range stands alone"),
    ("model.hidden=[range(0,2)]", "model.hidden=[range(0,2)]", "a range stands alone"),
    ("-m +model.x={a:interval(1,2)},1", "interval(1,2)", "a range stands alone"),
    ("-m sweep.pruning=null seed=0,1", "sweep.pruning=null", "expected a mapping"),
    ("-m sweep.zip=[5] seed=0,1", "sweep.zip=[5]", "sweep.zip=[[optimizer,seed]]"),
    ("-m sweep.stages=[{around:inf}] seed=0,1", "around=inf", "must be a whole number above 0"),
    ("-m sweep.stages=[{a:{b:1}}] seed=0,1", "a={b:1}", "there is no setting 'a'"),
    *(
        (
            f"-m hydra/launcher=joblib hydra.launcher.n_jobs={value} seed=0,1",
            f"n_jobs={value}",
            right,
        )
        for value, right in (
            ("x", "a whole number"),
            ("1.5", "a whole number"),
            ("[1]", "a whole number"),
            ("0", "above 0"),
        )
    ),
    (
        "-m hydra/launcher=submitit_local hydra.launcher.timeout_min=x seed=0,1",
        "hydra.launcher.timeout_min=x",
        "a whole number",
    ),
    ("hydra.foo=1", "hydra.foo=1", "no setting 'hydra.foo'"),
    ("=3", "=3", "the key before = is missing"),
    ("optimizer..lr=3", "optimizer..lr=3", "cannot be a key"),
    ("model.hidden[0]=3", "model.hidden[0]=3", "cannot be a key"),
    ("~~model", "~~model", "cannot be a key"),
    ("~optimizer.lr=3", "~optimizer.lr=3", "write ~optimizer.lr"),
    ("foo={}", "foo={}", "--help"),
    ("seed=???", "seed is required", "give it a value"),
    ("hydra.run.dir=/dev/null/x", "hydra.run.dir=/dev/null/x", "outputs=folder"),
    ("hydra.run={dir:a}", "hydra.run={dir:a}", "outputs=folder"),
    ("-m hydra.sweep.subdir=a seed=0,1", "hydra.sweep.subdir=a", "outputs=folder"),
    ("hydra.job.chdir=true", "hydra.job.chdir=true", "where it is typed"),
    ("hydra.job={chdir:true}", "hydra.job={chdir:true}", "hydra.job.name=value"),
    ("hydra.job.num=3", "hydra.job.num=3", "name=text"),
    ("hydra/help=default", "hydra/help=default", "a form of its own"),
    ("hydra.runtime.cwd=a", "hydra.runtime.cwd=a", "from the command"),
    ("hydra.searchpath=[x]", "hydra.searchpath=[x]", "--config-dir folder"),
    ("hydra.verbose=true", "hydra.verbose=true", "hydra/job_logging=stdout"),
    ("hydra.verbose=[mlflow]", "hydra.verbose=[mlflow]", "DLRUN_DEBUG=1"),
    (
        "-m hydra/job_logging=stdout hydra.verbose=true seed=0,1",
        "hydra.verbose=true",
        "no log is kept of a sweep here",
    ),
    ("-m seed=1,2 sweep.trials=abc", "sweep.trials=abc", "expected a whole number or null"),
    ("-m seed=1,2 sweep.zip=5", "sweep.zip=5", "expected a list"),
    ("-m sweep.params={sed:5} seed=1,2", "sweep.params={sed:5}", "did you mean seed=5"),
    ("--", "unknown flag --", "--help"),
    ("--help =", "--help =", "--help optimizer"),
    ("data=imagefolder", "data.root is required", "data.root=photos"),
    ("model=custom", "model._target_ is required", "mynet.Net"),
    ("optimizer.lr=${epoch}", "optimizer.lr=${epoch}", "did you mean ${epochs}?"),
    ("seed=${name}", "seed=${name}", "int"),
    ("epochs", "epochs", "write key=value"),
    ("checkpoint_every=30 minutes", "minutes", "'checkpoint_every=30 minutes'"),
    ("snyc", "snyc", "dlrun sync"),
    ("sync output=x", "output=x", "did you mean outputs=x?"),
    ("--multrun", "--multrun", "did you mean --multirun?"),
    ("--epochs=3", "--epochs", "written epochs=3"),
    ("--epochs 3", "--epochs", "written epochs=3"),
    ("--resume", "--resume", "written resume=last"),
    ("--resume=2026", "--resume", "written resume=2026"),
    ("--lr=0.1", "--lr", "written optimizer.lr=0.1"),
    ("--lr", "--lr", "written optimizer.lr=..."),
    ("--optimizer.lr=0.1", "--optimizer.lr", "written optimizer.lr=0.1"),
    ("--early-stopping", "--early-stopping", "written regularization=[early_stopping]"),
    ("--max-epochs 3", "--max-epochs", "did you mean epochs=3?"),
    ("--verbose", "--verbose", "a setting is written verbose=..."),
    ("help", "help: ", "dlrun --help lists"),
    ("help loss", "help: ", "dlrun --help loss says"),
    ("train", "train: ", "dlrun alone trains"),
    ("train model=mlp", "train: ", "dlrun model=mlp another"),
    ("version", "version: ", "dlrun --version"),
    ("resume", "resume: ", "dlrun resume=last"),
    ("adam", "adam: ", "did you mean optimizer=adam?"),
    ("optimizer", "optimizer: ", "dlrun --help optimizer"),
    ("epoch", "epoch: ", "did you mean epochs=...?"),
    ("optimizer=?", "optimizer=?", "dlrun --help optimizer shows them"),
    ("optimizer=SGD", "optimizer=SGD", "did you mean sgd?"),
    ("hydra/launcher=nope", "hydra/launcher=nope", "joblib, ray, submitit_local, submitit_slurm"),
    ("-m hydra/launcher=jobib seed=0,1", "hydra/launcher=jobib", "did you mean joblib?"),
    ("hydra/launcher=joblib", "hydra/launcher=joblib", "needs -m"),
    ("+sweep.trials=5", "+sweep.trials=5", "needs -m"),
    ("-m hydra/sweeper=optuna seed=0,1", "hydra/sweeper=optuna", "--help sweep"),
    ("-m hydra.launcher.n_jobs=2 seed=0,1", "n_jobs=2: ", "a setting of hydra/launcher=joblib"),
    ("hydra/foo=x", "hydra/foo=x", "no choice of 'hydra/foo'"),
    ("hydra/launchr=x", "hydra/launchr=x", "did you mean hydra/launcher?"),
    *(
        (
            f"-m sweep=random optimizer.lr={typed}",
            f"optimizer.lr={typed}: ",
            f"'optimizer.lr={right}'",
        )
        for typed, right in (
            ("loguniform(1e-4,1)", "tag(log,interval(1e-4,1))"),
            ("log_uniform(1e-4,1)", "tag(log,interval(1e-4,1))"),
            ("tune.loguniform(lower=1e-4,upper=1)", "tag(log,interval(1e-4,1))"),
            ("uniform(0.1,1)", "interval(0.1,1)"),
            ("hp.uniform(lr,0.1,1)", "interval(0.1,1)"),
            ("randint(1,9)", "int(interval(1,9))"),
            ("quniform(0,1,0.1)", "range(0,1,0.1)"),
            ("normal(0,1)", "interval(low,high)"),
            ("logspace(-4,0)", "tag(log,interval(low,high))"),
            ("interval(1)", "interval(low,high)"),
            ("choice([0.1,1])", "choice(0.1,1)"),
            ("grid_search([0.1,1])", "choice(0.1,1)"),
            ("0.1..1", "interval(0.1,1)"),
            ("1...1e-3", "interval(1e-3,1)"),
        )
    ),
    (
        "optimizer.lr=0.1..1",
        "optimizer.lr=0.1..1",
        "-m sweep=random 'optimizer.lr=interval(0.1,1)'",
    ),
    ("metrcs=auroc", "metrcs=auroc", "did you mean metric=auroc?"),
    ("metrics=accuracy", "metrics=accuracy", "did you mean metric=accuracy?"),
    ("metrics=[AUC]", "metrics=[AUC]", "did you mean metric=[auroc]?"),
    ("metric=f1", "metric=f1", "did you mean macro_f1?"),
    ("metric=[recall,roc_auc]", "metric=[recall,roc_auc]", "did you mean auroc?"),
    ("metric=recal", "metric=recal", "did you mean recall?"),
    ("metric=null", "metric=null", "write metric=none"),
    ("metric.auroc.bins=3", "metric.auroc.bins=3", "metric=none has no setting 'auroc.bins'"),
    (
        "metric=[calibration_error] metric.calibration_error.bin=3",
        "metric.calibration_error.bin=3",
        "did you mean metric.calibration_error.bins=3?",
    ),
    ("auroc=true", "auroc=true", "did you mean metric=[auroc]?"),
    ("watch_evry=3", "watch_evry=3", "did you mean watch_every=3?"),
    ("watching=layers", "watching=layers", "did you mean watch=layers?"),
    ("watch=layers,sharpness", "watch=layers,sharpness", "watch=[layers,sharpness]"),
    ("sharpness=true", "sharpness=true", "watch=sharpness records"),
    ("track_grad_norm=2", "track_grad_norm=2", "watch=layers records"),
    ("bins=10", "bins=10", "did you mean metric.calibration_error.bins=10"),
    ("trainer.foo=3", "trainer.foo=3", "; dlrun --help lists them"),
    ("trainer.lr=3", "trainer.lr=3", "did you mean optimizer.lr=3?"),
    ("trainer.epochs=3", "trainer.epochs=3", "did you mean epochs=3?"),
    ("optimizer.learning_rate=1", "optimizer.learning_rate=1", "did you mean optimizer.lr=1?"),
    ("model=custom model.width=9", "model.width=9", "write +model.width=9"),
    ("model=custom model.max_parameter=9", "model.max_parameter=9", "model.max_parameters=9?"),
    ("--batch-size 3", "--batch-size", "written batch_size="),
    ("--config-dir nosuch", "--config-dir nosuch", "no such directory"),
    ("--config-dir min", "--config-dir min", "did you mean mine?"),
    ("--config-dir", "--config-dir", "a value"),
    ("--cfg foo", "--cfg foo", "job, hydra, all"),
    ("--help optimiser", "optimiser", "did you mean optimizer?"),
    ("resume=last", "resume=last", "no runs"),
]
BUILDING = [
    ("epochs=0", "epochs=0", "must be above 0, such as '5 epochs' or '200 steps'"),
    ("epochs=nan", "epochs=nan", "must be above 0, such as '5 epochs' or '200 steps'"),
    ("validate_every=-1%", "validate_every=-1%", "must be above 0"),
    ("warmup=-1", "warmup=-1", "must be at least 0"),
    ("loss=bce loss.one_logit=true", "loss.one_logit=true: is for two", "use loss=cross_entropy"),
    ("epochs=1.5steps", "epochs=1.5steps", "steps are whole numbers; write '2 steps'"),
    ("warmup=0.3steps", "warmup=0.3steps", "steps are whole numbers; write '1 steps'"),
    (
        "regularization=[early_stopping] regularization.early_stopping.patience=2.5steps",
        "regularization.early_stopping.patience=2.5steps",
        "steps are whole numbers; write '2 steps'",
    ),
    ("outputs=${oc.env:NOWHERE,''}", "outputs=", "name a directory; . is this one"),
    (
        "regularization=target_noise regularization.target_noise.outputs=20",
        "regularization.target_noise.outputs=20",
        "the data have 10; leave it out",
    ),
    (
        "augmentation=scale_crop augmentation.scale_crop.short=[5,9]",
        "augmentation.scale_crop.short=[5, 9]",
        "rising, of at least size=8",
    ),
    ("optimizer.lr=fast", "optimizer.lr=fast", "expected a number"),
    ("optimizer.lr=-1", "optimizer.lr=-1", "must be at least 0"),
    ("optimizer.momentum=true", "optimizer.momentum=true", "expected a number"),
    ("+optimizer.nesterovv=true", "optimizer.nesterovv", "did you mean 'nesterov'?"),
    ("+optimizer.nesterov=yes", "optimizer.nesterov=yes", "expected true or false"),
    ("optimizer._target_=torch.optim.Adm", "torch.optim.Adm", "did you mean 'Adam'?"),
    ("model.hidden=50", "model.hidden=50", "expected a list of whole numbers"),
    ("model.hidden=[a]", "model.hidden=[a]", "expected a list of whole numbers"),
    ("model.activation=relu", "model.activation=relu", "expected a function"),
    ("model=custom model._target_=mynet.Net", "model._target_=mynet.Net", "no module 'mynet'"),
    ("model=custom model._target_=torch.nn.Linera", "torch.nn.Linera", "did you mean 'Linear'?"),
    ("model=torchvision model.name=resnet81", "model.name=resnet81", "resnet18"),
    ("device=gpu", "device=gpu", "cuda"),
    ("precision=bf61", "precision=bf61", "bf16"),
    ("batch_size=0", "batch_size=0", "full"),
    ("batch_size=all", "batch_size=all", "full"),
    ("epochs=ten", "epochs=ten", "5 epochs"),
    ("epochs=", "epochs=", "5 epochs"),
    ("warmup=10x", "warmup=10x", "10%"),
    ("monitor=val/acuracy", "monitor=val/acuracy", "val/accuracy"),
    ("target_error=5", "target_error=5", "a share of errors, such as 1% or 0.01"),
    (
        "model=autoencoder loss=mse target_error=1%",
        "target_error=1%",
        "must be a val/mae, such as 0.5, and no share",
    ),
    ("procedure=start procedure.samples=[0]", "procedure.samples=[0]", "at least one, all above 0"),
    ("monitor=val/auroc", "monitor=val/auroc", "is not measured; add metric=[auroc]"),
    ("metric=[recall] monitor=val/auroc", "monitor=val/auroc", "add metric=[recall,auroc]"),
    ("monitor=val_f1", "monitor=val_f1", "did you mean metric=[macro_f1] monitor=val/macro_f1?"),
    ("monitor=val_loss", "monitor=val_loss", "did you mean monitor=val/loss?"),
    ("monitor=test/accuracy", "monitor=test/accuracy", "did you mean monitor=val/accuracy?"),
    ("metric=[auroc] monitor=train/auroc", "monitor=train/auroc", "mean monitor=val/auroc?"),
    (
        "monitor=val/mae",
        "monitor=val/mae",
        "there are classes; use monitor=val/loss or val/accuracy",
    ),
    ("metric=[r2,rmse]", "metric=r2: is for targets that are numbers", "classes; leave it out"),
    (
        "data=arrays data.path=table.npz data.task=regression loss=mse target_error=1%",
        "target_error=1%",
        "must be a val/mae, such as 0.5, and no share",
    ),
    ("metric=brier loss=hinge", "metric=brier: needs probabilities", "loss=cross_entropy or bce"),
    (
        "metric=[calibration_error] metric.calibration_error.bins=0",
        "metric.calibration_error.bins=0",
        "at least 1",
    ),
    (
        "metric=[calibration_error] metric.calibration_error.bins=many",
        "metric.calibration_error.bins=many",
        "expected a whole number",
    ),
    (
        "+metric.own._target_=builtins.max +metric.own._partial_=true",
        "metric.own",
        "does not say which way is better",
    ),
    ("+metric.loss._target_=dlrun.metric.mae +metric.loss._partial_=true", "metric.loss", "alwa"),
    ("watch=layer", "watch=layer", "did you mean layers?"),
    ("watch=[layers,sharpnes]", "watch=[layers,sharpnes]", "did you mean sharpness?"),
    ("watch=gradients", "watch=gradients", "did you mean layers?"),
    ("watch=true", "watch=true", "must be layers, sharpness, [layers,sharpness] or null"),
    ("watch=none", "watch=none", "did you mean null?"),
    ("watch={a:1}", "watch={a:1}", "must be layers"),
    ("watch_every=5s", "watch_every=5s", "'5 epochs' or '200 steps' or 10%"),
    ("watch_every=0", "watch_every=0", "'5 epochs' or '200 steps' or 10%"),
    ("seed=-1", "seed=-1", "negative"),
    ("seed=18446744073709551615", "seed=18446744073709551615", "at most 9223372036854775807"),
    ("batch_size=100000000000000000000", "batch_size=1000", "at most 2147483647"),
    ("batch_size=null", "batch_size=null", "full"),
    ("threads=1000000000", "threads=1000000000", "at most 1024"),
    ("epochs=1e400", "epochs=inf", "5 epochs"),
    ("epochs=1e13", "epochs=10000000000000", "5 epochs"),
    ("warmup=200%", "warmup=200%", "10%"),
    ("clip_norm=nan", "clip_norm=nan", "greater than 0"),
    ("optimizer.lr=99999999999999999999", "optimizer.lr=99999999999999999999", "too large"),
    ("optimizer.weight_decay=1e300", "optimizer.weight_decay=1e+300", "too large"),
    ("optimizer=lbfgs optimizer.lr=0", "optimizer.lr=0", "above 0"),
    ("optimizer=vsgd optimizer.lr=nan", "optimizer.lr=nan", "finite"),
    ("optimizer=line_search optimizer.lr=nan", "optimizer.lr=nan", "finite"),
    ("optimizer.lr=${oc.env:HOME}", "optimizer.lr=", "expected a number"),
    ("optimizer.lr=${facts.shape}", "optimizer.lr=[1,8,8]", "expected a number"),
    ("batch_size=${optimizer}", "batch_size={'_target_'", "...: must be a whole number"),
    ("schedule=step schedule.every=5s", "schedule.every=5s", "5 epochs"),
    ("augmentation=[mixup] augmentation.mixup.alpha=1e20", "augmentation.mixup.alpha", "and 100"),
    ("augmentation=[randaugment] augmentation.randaugment.operations=1000", "operations=1", "100"),
    ("augmentation=[rescale] augmentation.rescale.low=1e-30", "rescale.low=1e-30", "0.01"),
    ("optimizer=natural_gradient optimizer.draws=100000", "optimizer.draws=100000", "1000"),
    ("optimizer=natural_gradient optimizer.loss=foo", "optimizer.loss=foo", "cross_entropy"),
    ("optimizer=muon optimizer.iterations=1000", "optimizer.iterations=1000", "1 and 100"),
    ("optimizer=rmsprop optimizer.alpha=2", "optimizer.alpha=2", "at least 0 and below 1"),
    ("optimizer=rmsprop optimizer.momentum=1", "optimizer.momentum=1:", "below 1"),
    ("optimizer=adadelta optimizer.rho=1.0", "optimizer.rho=1.0", "below 1"),
    ("optimizer=sam optimizer.momentum=1.5", "optimizer.momentum=1.5", "below 1"),
    ("optimizer=adam optimizer.betas=[1,1]", "optimizer.betas=[1, 1]", "below 1"),
    (
        "optimizer=nadam optimizer.betas=[0.5,1]",
        "error: optimizer.betas=[0.5, 1]",
        "each must be at least 0 and below 1",
    ),
    ("optimizer=rprop optimizer.etas=[1,1.2]", "error: optimizer.etas=[1, 1.2]", "above 1"),
    ("optimizer=rprop optimizer.step_sizes=[5,1]", "optimizer.step_sizes=[5, 1]", "the largest"),
    ("optimizer=rprop optimizer.step_sizes=[-1,2]", "step_sizes=[-1, 2]", "at least 0"),
    ("initializer=lsuv initializer.most_trials=-1", "initializer.most_trials=-1", "0 and 1000"),
    ("schedule=manual schedule.table=[[-1,0.1]]", "schedule.table=[[-1", "not be negative"),
    ("initializer=random_walk initializer.gain=-1", "error: initializer.gain=-1", "negative"),
    ("initializer=xavier_normal initializer.gain=-1", "error: initializer.gain=-1", "negative"),
    ("initializer=xavier initializer.gain=-1", "error: initializer.gain=-1", "negative"),
    ("activation=gelu activation.approximate=foo", "error: activation.approximate=foo", "tanh"),
    ("activation=prelu activation.num_parameters=3", "error: activation.num_param", "size = 64"),
    ("model=cnn model.stride=100", "error: model.stride=100: stride must be lower", "8×8"),
    ("optimizer._target_=builtins.print", "builtins.print", "takes no lr, momentum"),
    ("initializer._target_=torch.nn.init.normal_", "torch.nn.init.normal_", "AttributeError"),
    ("model.activation=null", "model.activation=null", "expected a function"),
    ("+augmentation.foo._target_=builtins.dict", "augmentation.foo", "gives a dict, no function"),
    ("+preprocessing.foo._target_=builtins.dict", "preprocessing.foo", "no torch.nn.Module"),
    ("data=arrays data.path=table.npz data.target=a", "data.target=a", "a column of a table"),
    (
        "data=arrays data.path=maps.npz",
        "error: data.path=maps.npz: y has the shape",
        "(n, targets)",
    ),
    ("data=arrays data.path=twice.csv data.target=y", "data.target=y", "several columns have this"),
    ("data=arrays data.path=t.csv data.target=1", "data.target=1", "type \"data.target='1'\""),
    (
        "data=arrays data.path=t.csv data.target=y data.features=[x,0]",
        "data.features=[x,0]",
        "type \"data.features=[x,'0']\"",
    ),
    (
        "data=arrays data.path=t.csv data.target=y data.features=0",
        "data.features=0",
        "type \"data.features=['0']\"",
    ),
    ("data=imagetable data.path=t.csv data.target=[1,2]", "data.target=[1,2]", "=['1','2']\""),
    ("data.leaks=3", "data.leaks=3", "such as warn\n"),
    ("data=arrays data.path=table.npz data.missing=[NA]", "data.missing=[NA]", "of a table"),
    ("data=arrays data.path=t.csv data.target=y data.missing=NA", "data.missing=NA", "a list"),
    ("data=arrays data.path=t.csv data.target=y data.missing=[[NA]]", "data.missing=", "a list of"),
    ("data=arrays data.path=t.csv data.target=y data.decimal=dot", "data.decimal=dot", "comma"),
    ("data=arrays data.path=t.csv data.target=y", "holds '50,000'", "write 50000"),
    ("data=arrays data.path=one.csv data.target=z", "data.target=z", "one value, 'a', in all 2"),
    ("data=arrays data.path=table.npz data.columns={a:out}", "data.columns", "of a table"),
    ("data=arrays data.path=t.csv data.target=z data.columns={q:out}", "data.columns=q", "no such"),
    (
        "data=arrays data.path=t.csv data.target=z data.columns={x:word}",
        "data.columns.x=word",
        "number, text, date, out",
    ),
    ("data=arrays data.path=t.csv data.target=x data.columns={x:out}", "has x", "data.target"),
    ("data=arrays data.path=t.csv data.target=x data.columns={z:date}", "z holds 'a'", "%d/%m/%Y"),
    (
        "data=arrays data.path=t.csv data.target=x data.features=[z] data.columns={z:out}",
        "data.features: has z",
        "data.columns leaves out",
    ),
    ("data=arrays data.path=table.npz data.group=a", "data.group=a", "a column of a table"),
    ("data=arrays data.path=t.csv data.target=x data.group=q", "data.group=q", "no such column"),
    ("data=arrays data.path=t.csv data.target=x data.group=x", "data.group=x", "data.target"),
    ("data=arrays data.path=t.csv data.target=x data.group=z", "column z lacks", "'None'"),
    (
        "data=arrays data.path=t.csv data.target=x data.group=y data.features=[y,z]",
        "data.features: has y",
        "data.group",
    ),
    ("optimizer._target_=null", "optimizer._target_", "is required"),
    ("~optimizer._target_", "optimizer._target_", "is required"),
    ("~data._target_", "data._target_", "is required"),
    ("~activation._target_ ~activation._partial_", "activation._target_", "is required"),
    ("regularization=[l2] regularization.l2=null", "regularization.l2=null", "regularization.l2.n"),
    ("regularization=[l2] regularization.l2=5", "regularization.l2=5", "regularization.l2.name="),
    ("model.max_parameters=foo", "model.max_parameters=foo", "whole number"),
    ("model=vgg model.stages=3", "model.stages=3", "a list of lists of whole numbers"),
    ("activation=maxout activation.pieces=0", "activation.pieces=0", "at least 2"),
    ("schedule=manual schedule.table=3", "schedule.table=3", "a list of lists of 2 numbers"),
    ("schedule=manual schedule.table=[[0,-1]]", "schedule.table=[[0, -1]]", "negative"),
    ("schedule=multistep schedule.milestones=5", "schedule.milestones=5", "a list of durations"),
    ("schedule=step schedule.every=[1,2]", "schedule.every=[1,2]", "a duration such as"),
    ("schedule=step schedule.factor=nan", "schedule.factor=nan", "finite"),
    ("schedule=step schedule.factor=-1", "schedule.factor=-1", "negative"),
    ("schedule.final=-1", "schedule.final=-1", "negative"),
    (
        "regularization=[target_noise] regularization.target_noise.std=nan",
        "regularization.target_noise.std=nan",
        "finite",
    ),
    (
        "augmentation=[elastic] augmentation.elastic.sigma=inf",
        "augmentation.elastic.sigma=inf",
        "finite",
    ),
    (
        "augmentation=[elastic] augmentation.elastic.sigma=1e20",
        "augmentation.elastic.sigma=1e+20",
        "at most 1000",
    ),
    ("data=imagefolder data.root=loop", "data.root=loop", "has no images"),
    ("data=imagefolder data.root=halves", "data.root=halves", "no folder train beside them"),
    ("data=imagefolder data.root=twice", "Training and train both mean train", "keep one of them"),
    ("data=imagefolder data.root=phone", "data.root=phone has no images", "1 .heic"),
    ("data=imagefolder data.root=pipes", "data.root=pipes", "has no images"),
    ("data=imagefolder data.root=phone data.resize=crop", "data.resize=crop", "short, squash, pad"),
    ("data=imagefolder data.root=phone data.resize=pad", "data.resize=pad", "set data.size=64"),
    ("data=imagefolder data.root=phone data.background=red", "data.background=red", "white, black"),
    ("data=imagefolder data.root=phone data.depth=4", "data.depth=4", "from 8 to 16"),
    ("data=imagefolder data.root=phone data.depth=x", "data.depth=x", "a whole number or null"),
    ("data=imagefolder data.root=phone data.bit_depth=9", "data.bit_depth=9", "data.depth=9"),
    ("tracking.uri=sqlite:////dev/null/x.db", "/dev/null/x.db", "cannot be written"),
    ("tracking.uri=http://", "tracking.uri=http://", "sqlite:///runs/mlflow.db"),
    ("tracking.uri=foo://bar", "tracking.uri=foo://bar", "knows no foo://"),
    ("tracking.uri=ftp://x", "tracking.uri=ftp://x", "knows no ftp://"),
    ("tracking.uri=postgres://u@h/d", "tracking.uri=postgres://", "did you mean postgresql://?"),
    ("tracking.uri=http:/x", "tracking.uri=http:/x", "names no host"),
    ("tracking.uri=http://:5000", "tracking.uri=http://:5000", "names no host"),
    ("tracking.uri=http://h:99999", "tracking.uri=http://h:99999", "not a number from 1 to 65535"),
    ("tracking.uri=http://h:0", "tracking.uri=http://h:0", "not a number from 1 to 65535"),
    ("tracking.uri=http://h:x", "tracking.uri=http://h:x", "not a number from 1 to 65535"),
    ("tracking.uri=http://a..b", "tracking.uri=http://a..b", "a..b is not a host"),
    ("tracking.uri='http://[::1'", "tracking.uri=http://[::1", "Invalid IPv6 URL"),
    ("tracking.uri='http://h:1/#/experiments'", "tracking.uri=http://h:1/#", "http://h:1"),
    ("tracking.uri=localhost:5000", "tracking.uri=localhost:5000", "write http://localhost:5000"),
    ("tracking.uri='http://me:secret@h:1/#/x'", "page of a server", "the server: http://h:1"),
    ("tracking.uri='postgresql://[::1'", "tracking.uri=postgresql://[::1", "Invalid IPv6 URL"),
    ("tracking.uri=file:///tmp/x", "tracking.uri=file:///tmp/x", "sqlite:///runs/mlflow.db"),
    ("tracking.uri=mlruns", "tracking.uri=mlruns", "sqlite:///runs/mlflow.db"),
    ("tracking.uri=sqlite://x", "tracking.uri=sqlite://x", "names no file"),
    ("tracking.uri=sqlite:///:memory:", "tracking.uri=sqlite:///:memory:", "names no file"),
    ("tracking.uri=sqlite:///text.db", "tracking.uri=sqlite:///text.db", "is not a SQLite"),
    ("tracking.uri=sqlite:///pipe.db", "tracking.uri=sqlite:///pipe.db", "is not a SQLite"),
    ("tracking.uri=mysql+nosuch://h/d", "tracking.uri=mysql+nosuch://h/d", "pip install nosuch"),
    ("tracking.uri=postgresql:", "tracking.uri=postgresql:", "postgresql://host:port/name"),
    ("tracking.experiment=''", "tracking.experiment=''", "a name"),
    ("accumulate=0", "accumulate=0", "greater than 0"),
    (
        "regularization=[l2] regularization.l2.strength=-1",
        "regularization.l2.strength=-1",
        "not be",
    ),
    ("schedule=step schedule.factor=x", "schedule.factor=x", "expected a number"),
    ("schedule=step schedule.every=5x", "schedule.every=5x", "5 epochs"),
    ("data=mnist data.root=nosuch", "data=mnist", "data.download=true"),
    ("data=imagefolder data.root=nosuch", "data.root=nosuch", "folder"),
    ("data=arrays data.path=nosuch.npz", "data.path=nosuch.npz", "no such"),
    (
        "regularization=[dropout] regularization.dropout.rates=0.3",
        "regularization.dropout.rates=0.3",
        "expected text, such as drop\n",
    ),
    ("data.split=80", "data.split=80", "such as 60/20/20"),
    ("model.hidden=64", "model.hidden=64", "write model.hidden=[64]\n"),
    ("optimizer.lr=-0.1", "optimizer.lr=-0.1: must", "be at least 0\n"),
    ("optimizer=adamw optimizer.eps=-1", "optimizer.eps=-1: must", "be at least 0\n"),
    ("optimizer=adamw optimizer.betas=[1,0.9]", "betas=[1, 0.9]: each", "below 1\n"),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1: must", "be at least 0\n"),
    ("clip_norm=-1", "clip_norm=-1: must", "greater than 0"),
    ("layer_decay=2", "layer_decay=2: must", "at most 1"),
    ("data.split=[60,60]", "data.split=[60, 60]", "60/20/20"),
    ("data.leaks=wrn", "data.leaks=wrn", "warn"),
    (
        "data.split=1000/400/300",
        "data.split=1000/400/300",
        "1,797 samples, got 1000/400/300, which",
    ),
    ("data.split=60/20/30", "data.split=60/20/30", "sum to 110"),
    ("data.split=[0.5,0.2,0.2]", "data.split=[0.5, 0.2, 0.2]", "sum to 0.9"),
    ("data.samples=0", "data.samples=0", "a share of at most 100%, such as 5%"),
    ("data.samples=-1", "data.samples=-1", "above 0"),
    ("data.samples=0.05", "data.samples=0.05", "did you mean 5%?"),
    ("data.samples=0.05%", "data.samples=0.05%", "at least one"),
    ("data.samples=101%", "data.samples=101%", "a share of at most 100%"),
    ("data.samples=all", "data.samples=all", "a whole number above 0"),
    ("data.samples=true", "data.samples=true", "expected a number or text"),
    ("data.samples=1079", "data.samples=1079", "at most 1,078"),
    ("data.samples=1e300", "data.samples=1e+300", "too large"),
    ("-m data.samples=5%,0%", "data.samples=0%", "above 0"),
    ("data.classes=[1,nope]", "data.classes: the set has no class 'nope'", "there are 0, 1, 2"),
    ("data.classes=[3,30]", "no class '30'", "there are 0, 1, 2"),
    ("data.classes=[3]", "data.classes=[3]", "two or more, each once"),
    ("data.classes=3", "data.classes=3", "a list of"),
    ("data.classes=[3,3]", "data.classes=[3, 3]", "two or more, each once"),
    (
        "data=arrays data.path=table.npz data.task=regression loss=mse data.classes=[0,1]",
        "data.classes: the set",
        "has no classes to choose",
    ),
    ("data.train_dev=1078", "data.train_dev=1078", "leave samples for training"),
    ("data.train_dev=none", "data.train_dev=none", "such as 100"),
    ("data.train_dev=5% data.samples=1050", "data.samples=1050", "at most 1,024"),
    ("data=arrays data.path=table.npz model=cnn", "model=cnn", "model=mlp"),
    ("data=arrays data.path=table.npz augmentation=[crop]", "crop", "image"),
    ("tracking.uri=3", "tracking.uri=3", "expected text"),
    ("epoch=3 optimizer=adamm seed=abc", "did you mean epochs=3?", "expected a whole number"),
]


@pytest.fixture
def place(here, monkeypatch):
    monkeypatch.setenv("DLRUN_CACHE", str(here / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing may reach it
    (here / "mine").mkdir()
    (here / "text.db").write_text("no database\n")
    os.mkfifo(here / "pipe.db")
    for folder in ("loop/cat", "loop/dog", "pipes/cat", "pipes/dog", "halves/val", "halves/test"):
        (here / folder).mkdir(parents=True)
    for folder in ("phone/cat", "phone/dog", "twice/train/cat", "twice/Training/cat"):
        (here / folder).mkdir(parents=True)
    (here / "phone" / "cat" / "1.HEIC").write_bytes(b"not for Pillow")
    (here / "loop" / "cat" / "again").symlink_to("..")
    os.mkfifo(here / "pipes" / "cat" / "a.png")
    (here / "pipes" / "dog" / "b.png").symlink_to("../cat/a.png")
    values = np.random.default_rng(0).normal(size=(60, 5)).astype("float32")
    np.savez(here / "table.npz", x=values, y=np.arange(60) % 3)
    np.savez(here / "maps.npz", x=values, y=np.arange(240).reshape(60, 2, 2) / 7)
    rows = "".join(f"{row},{row % 2},{row % 3}\n" for row in range(60))
    (here / "twice.csv").write_text(f"a,y,y\n{rows}")
    (here / "t.csv").write_text("x;y;z\n1;50,000;None\n2;60,000;a\n")
    (here / "one.csv").write_text("x;z\n1;a\n2;a\n")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield here
    torch.set_num_threads(threads)


def words_of(command):
    """The words as a shell gives them, one value with a space and open quotes kept."""
    if command.startswith("checkpoint_every"):
        return command.split()
    return command.split(" ")


def message_of(capsys, code, expected):
    shown = capsys.readouterr()
    assert code == expected, shown.err
    assert shown.err.startswith("error: ")
    assert "Traceback" not in shown.err
    assert len(shown.err.splitlines()) <= 6
    return shown.err


@pytest.mark.parametrize(
    ("command", "what", "right"), sparsely(COMPOSING, 4), ids=[c for c, *_ in COMPOSING]
)
def test_what_is_wrong_before_anything_is_built(command, what, right, place, capsys):
    message = message_of(capsys, main(words_of(command)), 2)
    assert what in message
    assert right in message
    assert "hydra.cc" not in message
    assert not list(place.glob("outputs/runs/*"))


@pytest.mark.parametrize(
    ("command", "what", "right"), sparsely(BUILDING, 4), ids=[c for c, *_ in BUILDING]
)
def test_what_is_wrong_before_training(command, what, right, place, capsys):
    words = words_of(command)
    if "tracking" not in command:
        words.append("tracking=none")
    message = message_of(capsys, main(words), 2)
    assert what in message
    assert right in message
    assert not list(place.glob("outputs/runs/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda:7", "cuda", "mps"])
def test_a_device_that_is_not_there(device, place, capsys):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    message = message_of(capsys, main([f"device={device}", "tracking=none"]), 2)
    assert f"device={device}" in message
    assert "cpu" in message


@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]], ids=["a run", "a sweep"])
def test_outputs_that_are_a_file_start_no_delivery(words, place, capsys):
    (place / "file").touch()
    message = message_of(capsys, main([*words, "outputs=file"]), 2)
    right = "file is a file; name another directory"
    assert message == f"error: outputs=file: cannot be written: {right}\n"


def test_a_list_is_proposed_only_where_a_group_takes_several(place, capsys):
    message = message_of(capsys, main(["procedure=retrain,bagging"]), 2)
    assert message.endswith("several values are a sweep and need -m\n")
    message = message_of(capsys, main(["augmentation=crop,flip"]), 2)
    assert "one list is augmentation=[crop,flip]" in message


def test_a_wrong_duration_is_told_once(place, capsys):
    words = ["schedule=cyclic", "schedule.half=true", "tracking=none"]
    assert message_of(capsys, main(words), 2) == (
        "error: schedule.half=true: expected a duration such as '5 epochs'\n"
    )


def test_all_mistakes_are_reported_together(place, capsys):
    message = message_of(capsys, main(["optimizer=adamm", "epoch=3", "seed=abc"]), 2)
    assert message.splitlines() == [
        "error: optimizer=adamm: no optimizer is called 'adamm'; did you mean adam?",
        "       epoch=3: there is no setting 'epoch'; did you mean epochs=3?",
        "       seed=abc: expected a whole number",
    ]


@pytest.mark.parametrize("words", [(), ("-m", "seed=0,1")], ids=["a run", "a sweep"])
def test_a_variable_that_names_no_server(words, place, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a b:5000")
    message = message_of(capsys, main([*words, "epochs='2 steps'"]), 2)
    assert message.startswith("error: MLFLOW_TRACKING_URI=http://a b:5000: has a space in it")
    assert len(message.splitlines()) == 1
    assert not list(place.glob("outputs/runs/*"))


def test_databricks_without_a_workspace(place, capsys, monkeypatch):
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(place))
    message = message_of(capsys, main(["tracking.uri=databricks"]), 2)
    assert message.startswith("error: tracking.uri=databricks: says no workspace; set DATABRICKS_")


def test_a_faulty_recipe_file_of_the_user(place, capsys):
    (place / "mine" / "optimizer").mkdir()
    (place / "mine" / "optimizer" / "bad.yaml").write_text("# Bad\nlr: [1\n")
    message = message_of(capsys, main(["--config-dir", "mine", "optimizer=bad"]), 2)
    assert message.startswith(f"error: {place / 'mine/optimizer/bad.yaml'}, line ")
    assert "expected ',' or ']'" in message


def test_a_loss_that_is_not_finite_fails_the_run(place, capsys):
    from dlrun import record

    words = ["optimizer.lr=1e30", "epochs=2", "tracking=none"]
    message = message_of(capsys, main(words), 1)
    assert "loss" in message
    assert "optimizer.lr" in message
    [run] = record.all_runs("outputs")
    status = record.read_status(run)
    assert status["status"] == record.FAILED
    assert status["message"] in message.replace("\n       ", "\n")


def test_a_full_disk_fails_the_run(place, capsys, monkeypatch):
    import errno
    import os

    from dlrun import record

    real = os.fsync

    def full(descriptor):
        if "checkpoints" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    message = message_of(capsys, main(["epochs=2", "tracking=none"]), 1)
    assert "the disk is full" in message
    [run] = record.all_runs("outputs")
    assert record.read_status(run)["status"] == record.FAILED
